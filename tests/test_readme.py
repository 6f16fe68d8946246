"""What README and docs say is what the program does: commands, printed blocks, figures, links and pictures.

Figures of the plan are read off `--dry_run`, in a folder without checkpoints. When such a test fails, it shows what the
program prints: write that into the page.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from wan2.request.presets import WAN22_T2V

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples/README.md",
    ROOT / "holocine_ext/nano/README.md",
]
# What a command of a page names by its path in this repository.
FOLDERS = ("examples/", "models/", "holocine_ext/")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCRIPTS: dict[str, str] = PROJECT["scripts"]
LONGEST = 300
LARGEST_PICTURE = 1_000_000
# Words that begin a line of a code block, and are not commands of this project.
SYSTEM = ("accelerate", "pip", ".venv/bin/pip", "hf", "git", "ray", "source", "touch", "python3")
SYSTEM += (".venv\\Scripts\\activate",)
# Flags in the text that belong to other programs, or to tools of this repository.
FOREIGN = {"--index-url", "--state", "--convert_model_dtype", "--ablated", "--include", "--local-dir", "--runs"}
FOREIGN |= {"--num-gpus", "--nproc-per-node"}
# What may be written after a line of a list.
SHORT = {"--w", "--h", "--f", "--d", "--s", "--g", "--gh", "--fs", "--n"}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    language: str
    text: str


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(page, language, text) for language, text in found]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """The commands in the shell blocks of a page, as words; continued lines are one, comments are left out."""
    for block in blocks(page):
        if block.language in ("sh", "bat"):
            for line in re.sub(r"\\\n", "", block.text).splitlines():
                # In a .bat block a backslash is part of a path.
                words = line.split() if block.language == "bat" else shlex.split(line, comments=True)
                if words:
                    yield words
        if block.language == "console":
            yield shlex.split(block.text.splitlines()[0].removeprefix("$ "))


def parser_of(script: str) -> Any:  # noqa: ANN401
    """The parser behind an installed command."""
    module = importlib.import_module(SCRIPTS[script].partition(":")[0])
    return module.build_parser(script.replace("-", "_"), WAN22_T2V) if "wan2" in script else module.build_parser()


def script_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The installed command that a line stands for, and its arguments; None where it is none of ours."""
    if words[0] in SCRIPTS:
        return words[0], words[1:]
    script = words[1].removesuffix(".py").replace("_", "-") if len(words) > 1 else ""
    return (script, words[2:]) if words[0] == "python" and script in SCRIPTS else None


def run(words: list[str], folder: Path) -> str:
    """What a command of a page prints, run in a folder without checkpoints."""
    paths = [str(ROOT / word) if word.startswith(FOLDERS) else word for word in words]
    done = subprocess.run(
        [sys.executable, ROOT / paths[1], *paths[2:]],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    return (done.stdout + done.stderr).replace(f"{ROOT}/", "")


def planned(flags: str, folder: Path) -> dict[str, str]:
    """The figures of a plan of the real model, as the pages write them."""
    words = ["python", "holocine_generate_video.py", "--dry_run", *shlex.split(flags)]
    text = run(words, folder)
    blocks_ = re.search(r"with (no|\d+) blocks? (?:of each transformer )?streamed", text)
    memory = re.search(r"device, predicted: (\S+ \S+) at most", text)
    time = re.search(r"time .* a step, (\S+ (?:min|h))", text)
    host = re.search(r"host, predicted: (\S+ \S+) ", text)
    assert blocks_ and memory and host, text
    return {
        "streamed": f"{blocks_[1].replace('no', '0')} of 40",
        "device memory": memory[1],
        "denoising, at most": time[1] if time else "",
        "host": host[1],
        "apart": "passes one by one" if "--passes_apart" in text else "",
        "VAE": ", in tiles" * ("--vae_tiling" in text) + ", cache on host" * ("--vae_cache_cpu" in text),
    }


def table(page: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of the table of a page whose header has all these columns."""
    for lines in re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE):
        cells = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines.splitlines()]
        if set(columns) <= set(cells[0]):
            return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    raise AssertionError(f"{name(page)}: no table with {columns}")


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_limits_are_said_first() -> None:
    text = " ".join(README.read_text(encoding="utf-8").replace(">", "").split())
    said = text.index("No figure on these pages comes from a GPU, and nobody in this project has run the released")
    assert said < text.index("## Two commands")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_is_one(page: Path) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for words in commands(page):
        ours = script_of(words)
        if ours:
            parser_of(ours[0]).parse_args(ours[1])
            for word in ours[1]:
                assert not word.startswith("examples/") or (ROOT / word).is_file(), word
        elif words[0] == "make":
            assert words[1] in targets, words
        elif words[:2] == ["python", "-m"]:
            assert words[2] == "venv" or importlib.util.find_spec(words[2]), words
        else:
            assert words[0] in SYSTEM, words
        extra = re.search(r"\.\[(\w+)\]", " ".join(words))
        assert not extra or extra[1] in PROJECT["optional-dependencies"], words


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_flag_in_the_text_exists(page: Path) -> None:
    known = {flag for script in SCRIPTS for flag in parser_of(script)._option_string_actions} | FOREIGN | SHORT
    spans = re.findall(r"`([^`]*)`", prose(page))
    ours = [span for span in spans if not span.startswith("python -m ")]
    flags = {flag for span in ours for flag in re.findall(r"(?<![\w-])--\w[\w-]*", span)}
    assert sorted(flags - known) == []


def test_every_option_is_explained() -> None:
    page = (ROOT / "docs/options.md").read_text(encoding="utf-8")
    flags = {flag for flag in parser_of("holocine-generate-video")._option_string_actions if flag.startswith("--")}
    assert sorted(flag for flag in flags if not re.search(rf"{flag}\b(?!_)", page)) == []


def test_the_defaults_are_those_of_the_parser() -> None:
    wrong = []
    actions = parser_of("holocine-generate-video")._option_string_actions
    for row in table(ROOT / "docs/options.md", "option", "HoloCine", "nano"):
        for flag in re.findall(r"--\w+", row["option"]):
            said = re.search(r"\(default: (.*?)\)$", (actions[flag].help or "") if flag in actions else "")
            if not said or "/" in said[1] or not row["HoloCine"]:
                continue
            two = re.fullmatch(r"(.+) with holocine, (.+) with nano", said[1])
            defaults = (two[1], two[2]) if two else (said[1], said[1])
            cells = (row["HoloCine"].replace("`", ""), row["nano"].replace("`", ""))
            if all(re.fullmatch(r"[\w. ]+", value) for value in (*defaults, *cells)) and "," not in cells[0]:
                even = cells == ("even", "even") and defaults[0].startswith("even")
                wrong += [] if even or defaults == cells else [(flag, defaults, cells)]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_printed_block_is_what_the_program_prints(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "console":
            command, _, printed = block.text.partition("\n")
            assert run(shlex.split(command.removeprefix("$ ")), tmp_path) == printed


def test_the_first_real_run_costs_what_it_says(tmp_path: Path) -> None:
    found = [words for words in commands(README) if script_of(words) and "--preset" in words]
    assert len(found) == 1
    words = found[0][2:]
    words = words[: words.index("--vram_budget")] + words[words.index("--vram_budget") + 2 :]
    asked = shlex.join(str(ROOT / word) if word.startswith("examples/") else word for word in words)
    rows = table(README, "memory of the card", "add", "device memory", "streamed", "denoising, at most")
    assert len(rows) == 3
    hosts = set()
    for row in rows:
        figures = planned(f"{asked} {row['add'].strip('`')}", tmp_path)
        told = {column: row[column] for column in ("device memory", "streamed", "denoising, at most")}
        assert told == {column: figures[column] for column in told}, row["add"]
        hosts.add(figures["host"])
    assert {f"**Main memory**: {host}" for host in hosts} <= set(
        re.findall(r"\*\*Main memory\*\*: \S+ \S+B", prose(README))
    )


def test_what_is_downloaded_is_added_up() -> None:
    rows = table(ROOT / "docs/weights.md", "size", "flag for another place")
    sizes = [float(found[0]) for row in rows if (found := re.findall(r"^([\d.]+) GB", row["size"]))]
    assert f"{sum(sizes):.1f} GB for the files" in prose(README)
    assert f"Download {round(sum(sizes), -1):.0f} GB" in prose(README)


def test_a_budget_streams_what_the_table_says(tmp_path: Path) -> None:
    rows = table(README, "card", "add", "streamed", "device memory", "and", "81 frames at 720x1280")
    assert {"`--vram_budget 12`", "`--vram_budget 24`"} <= {row["add"] for row in rows}
    wide = f"--storyboard {ROOT / 'examples/02_the_clockmaker.toml'} --video_length 81 --video_size 720 1280"
    for row in rows:
        scene = ROOT / "examples/03_salt_road.toml"
        at_720 = planned(f"{wide} {row['add'].strip('`')}", tmp_path)
        assert (at_720["streamed"] + at_720["VAE"], at_720["apart"]) == (row["81 frames at 720x1280"], ""), row["add"]
        figures = planned(f"--storyboard {scene} {row['add'].strip('`')}", tmp_path)
        told = row["streamed"], row["device memory"]
        assert told == (figures["streamed"], figures["device memory"]), row["add"]
        assert figures["apart"] in row["and"] and ("one by one" in row["and"]) == bool(figures["apart"]), row["add"]


def test_the_budgets_of_the_page_on_memory(tmp_path: Path) -> None:
    wrong = []
    for row in table(ROOT / "docs/memory.md", "`--vram_budget`", "full", "sparse"):
        for variant in ("full", "sparse"):
            said, _, fp8 = row[variant].partition(";")
            flags = f"--storyboard {ROOT / 'examples/05_lunar_regatta.yaml'} --variant {variant}"
            flags += f" --vram_budget {row['`--vram_budget`']}"
            if said.startswith("refused: "):
                text = run(["python", "holocine_generate_video.py", "--dry_run", *shlex.split(flags)], tmp_path)
                wrong += [] if said.removeprefix("refused: ") in text else [(row, text)]
                continue
            if fp8:
                assert planned(f"{flags} --fp8_scaled", tmp_path)["streamed"] == "0 of 40"
            figures = planned(flags, tmp_path)
            count = figures["streamed"].removesuffix(" of 40")
            now = "everything on the card" if count == "0" else f"{count} blocks streamed"
            now += ", passes apart" if figures["apart"] else ""
            wrong += [] if said == now else [(row["`--vram_budget`"], variant, said, now)]
    assert wrong == []


def test_the_installed_commands_exist() -> None:
    rows = table(README, "command", "the same as")
    assert {row["command"].strip("`") for row in rows} == set(SCRIPTS)
    for row in rows:
        command, script = row["command"].strip("`"), row["the same as"].strip("`").removeprefix("python ")
        assert script == f"{command.replace('-', '_')}.py" and (ROOT / script).is_file()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    assert wrong == []


def anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_table_of_contents_names_every_section_in_order(page: Path) -> None:
    listed = re.search(r"Contents:(.*?)\n\n", page.read_text(encoding="utf-8"), re.DOTALL)
    assert listed or page != README
    if listed:
        sections = [anchor(heading) for heading in re.findall(r"^## (.+)$", prose(page), re.MULTILINE)]
        assert re.findall(r"\(#([^)]+)\)", listed[1]) == sections


def test_the_picture_moves_and_is_small() -> None:
    found = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert found
    picture = ROOT / found[0]
    assert picture.stat().st_size < LARGEST_PICTURE
    with Image.open(picture) as image:
        assert getattr(image, "n_frames", 1) > 10


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_import_of_an_example_resolves(page: Path) -> None:
    missing = []
    for block in blocks(page):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.ImportFrom) and node.module:
                    module = importlib.import_module(node.module)
                    missing += [
                        f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)
                    ]
    assert missing == []


def test_the_library_in_ten_lines_runs(tmp_path: Path) -> None:
    code = next(block.text for block in blocks(README) if block.language == "python")
    (tmp_path / "scene.toml").write_bytes((ROOT / "examples/nano_three_shots.toml").read_bytes())
    (tmp_path / "ten_lines.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WAN2_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "ten_lines.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/scene.mp4").is_file()
