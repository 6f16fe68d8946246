"""A run never costs a file of the user's: what stands at its names is refused before the run, or is known to be ours.

What is refused: exit code 2, one line, no byte of the folder another than before, nothing new in it, hidden or not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import holocine_ext.cli
import wan2.cli.main
from tests.snapshots import raw
from tests.tiny import QUICK, TinyModel, impatient, write_tiny_model
from tests.wan2.fp8_files import six_blocks, write
from tests.wan2.lora_files import comfy, draw, write_lora
from wan2.run.video_io import VideoWriter, read_video
from wan2.weights.fp8_cache import cache_path

ROOT = Path(__file__).parents[1]
MAIN = {"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}
BOARD = {"global_caption": "A lighthouse.", "shots": [{"caption": "The tower"}, {"caption": "The sea"}]}
SHOTS = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "--shot_cut_frames", "5"]
GULL = ["--prompt", "a gull"]
EVERYTHING = ["--output_type", "both", "--export_shots", "--preview", "1"]
NIGHT = "夜"

Run = Callable[..., int]
Refuse = Callable[..., str]


@pytest.fixture
def run(tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line with the tiny model in `tmp_path`; its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *words, program="holocine": MAIN[program]([*tiny.flags(), *QUICK, *words])


@pytest.fixture
def refuse(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Runs a command line that must be refused and touch nothing below `tmp_path`; what is said."""

    def refuse(*words: str, program: str = "holocine") -> str:
        before = raw(tmp_path)
        capsys.readouterr()
        code = run(*words, program=program)
        out, err = capsys.readouterr()
        assert raw(tmp_path) == before
        assert (code, out) == (2, ""), err
        assert len(err.splitlines()) == 1, err
        return err

    return refuse


def user_file(path: Path) -> Path:
    """A file of the user's, such as may stand at a name of that ending: of its kind, but not of this program."""
    if path.suffix == ".png":
        Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(path)
    elif path.suffix == ".safetensors":
        save_file({"weights": torch.ones(3)}, path)
    elif path.suffix == ".json":
        path.write_text('{"notes": ["what I wanted to film"]}')
    else:
        path.write_bytes(b"a film of my own")
    return path


def user_folder(path: Path) -> Path:
    """A folder of the user's."""
    path.mkdir()
    (path / "notes.txt").write_text("keep me")
    return path


# What is read is never written, by whatever name.


def test_a_storyboard_where_the_record_would_be(refuse: Refuse, run: Run, tmp_path: Path):
    board = tmp_path / "night.json"
    board.write_text(json.dumps(BOARD))
    for more in ([], ["--resume"], ["--overwrite"], ["--output_type", "images"], ["--dry_run"]):
        assert "night.json" in refuse("--storyboard", "night.json", "--save_path", "night.mp4", *more)
    before = board.read_bytes()
    assert run("--storyboard", "night.json", "--save_path", "night.mp4", "--no_metadata") == 0
    assert board.read_bytes() == before
    assert set(raw(tmp_path)) == {"night.json", "night.mp4", "night.safetensors", "night_sheet.png"}


def test_the_script_itself_refuses_it(tmp_path: Path):
    (tmp_path / "night.json").write_text(json.dumps(BOARD))
    before = raw(tmp_path)
    words = ["--model", "nano", "--storyboard", "night.json", "--save_path", "night.mp4"]
    script = [sys.executable, str(ROOT / "holocine_generate_video.py")]
    done = subprocess.run([*script, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert raw(tmp_path) == before


@pytest.mark.parametrize("way", ["link to the storyboard", "hard link", "link to the folder", "dots"])
def test_a_storyboard_by_another_way(refuse: Refuse, tmp_path: Path, way: str):
    folder = tmp_path / "films"
    folder.mkdir()
    real = folder / "night.json"
    real.write_text(json.dumps(BOARD))
    given, output = real, folder / "night.mp4"
    if way == "link to the storyboard":
        given = tmp_path / "board.json"
        given.symlink_to(real)
    elif way == "hard link":
        given = tmp_path / "board.json"
        os.link(real, given)
    elif way == "link to the folder":
        (tmp_path / "other").symlink_to(folder)
        output = tmp_path / "other" / "night.mp4"
    else:
        output = folder / ".." / "films" / "night.mp4"
    for more in ([], ["--overwrite"]):
        assert "night.json" in refuse("--storyboard", str(given), "--save_path", str(output), *more)


@pytest.mark.parametrize("output", [".", "scenes.mp4", "./scenes.mp4"])
def test_storyboards_of_a_list_where_its_records_would_be(refuse: Refuse, tmp_path: Path, output: str):
    for number in (1, 2):
        (tmp_path / f"scenes-{number:03d}.json").write_text(json.dumps(BOARD))
    (tmp_path / "other.json").write_text(json.dumps(BOARD))
    # The second line writes over the storyboard that is read by the third.
    for text in ("scenes-001.json\n", "other.json\nother.json\nscenes-002.json\n"):
        (tmp_path / "scenes.txt").write_text(text)
        for more in ([], ["--overwrite"], ["--resume"]):
            assert "scenes-00" in refuse("--from_file", "scenes.txt", "--save_path", output, *more)


@pytest.mark.parametrize("program", ["wan2", "holocine"])
def test_a_list_where_a_record_would_be(refuse: Refuse, tmp_path: Path, program: str):
    (tmp_path / "one.toml").write_text('global_caption = "A"\n[[shots]]\ncaption = "B"\n')
    (tmp_path / "a-001.json").write_text("one.toml\n" if program == "holocine" else "a gull\n")
    assert "a-001.json" in refuse("--from_file", "a-001.json", "--save_path", "a.mp4", program=program)


@pytest.mark.parametrize("name", ["dit_high_noise", "dit_low_noise", "vae", "t5"])
@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["", "overwrite"])
def test_latents_where_a_checkpoint_is(refuse: Refuse, tiny: TinyModel, tmp_path: Path, name: str, more: list[str]):
    flags = tiny.flags()
    own = tmp_path / "weights.safetensors"
    shutil.copy(flags[flags.index(f"--{name}") + 1], own)
    # The VAE is read for previews.
    words = [f"--{name}", str(own), *GULL, "--output_type", "latent", "--preview", "1", *more]
    assert "weights.safetensors" in refuse(*words, "--save_path", str(own), program="wan2")
    (tmp_path / "link.safetensors").symlink_to(own)
    os.link(own, tmp_path / "hard.safetensors")
    for other in ("link.safetensors", "hard.safetensors"):
        assert other in refuse(*words, "--save_path", other, program="wan2")


def test_latents_where_a_lora_is_or_weights_are_kept(refuse: Refuse, tmp_path: Path):
    model = write_tiny_model(tmp_path / "model")
    for noise in ("high", "low"):
        write(model.expert(noise), six_blocks(noise), torch.float32)
    lora = tmp_path / "lora.safetensors"
    from wan2.weights.checkpoint import inspect_transformer

    write_lora(lora, comfy(draw(inspect_transformer(model.expert("low")).config)))
    words = [*model.flags(), *GULL, "--output_type", "latent"]
    line = refuse(*words, "--lora_weight", str(lora), "--save_path", str(lora), program="wan2")
    assert "lora.safetensors" in line
    kept = cache_path(model.expert("high"))
    line = refuse(*words, "--fp8_scaled", "--fp8_cache", "--save_path", str(kept), program="wan2")
    assert kept.name in line


def test_a_record_where_a_tokenizer_or_an_index_is(refuse: Refuse, tiny: TinyModel, tmp_path: Path):
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(tiny.tokenizer, tokenizer)
    words = [*GULL, "--tokenizer", str(tokenizer), "--save_path", str(tokenizer / "tokenizer.mp4")]
    assert "tokenizer.json" in refuse(*words, program="wan2")
    shards = tmp_path / "shards"
    shards.mkdir()
    names = load_file(tiny.expert("low")).keys()
    shutil.copy(tiny.expert("low"), shards / "part.safetensors")
    index = shards / "low.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "part.safetensors")}))
    words = [*GULL, "--dit_low_noise", str(index)]
    assert index.name in refuse(*words, "--save_path", str(shards / "low.safetensors.index.mp4"), program="wan2")
    part = shards / "part.safetensors"
    assert part.name in refuse(*words, "--output_type", "latent", "--save_path", str(part), program="wan2")


def test_latents_are_not_where_another_run_has_its_state(
    run: Run, refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(wan2.cli.main, "Console", impatient(1))
        assert run(*GULL, "--save_path", "x.mp4", program="wan2") == 130
    assert set(raw(tmp_path)) == {"x.state.safetensors"}
    for more in ([], ["--overwrite"], ["--resume"]):
        refuse(*GULL, "--output_type", "both", "--save_path", "x.state.mp4", *more, program="wan2")
        words = [*GULL, "--output_type", "latent", "--save_path", "x.state.safetensors", *more]
        refuse(*words, program="wan2")
    assert run(*GULL, "--save_path", "x.mp4", "--resume", program="wan2") == 0


# What stands there and is not ours is never replaced.

TAKEN = [
    "a.mp4",
    "a.json",
    "a.safetensors",
    "a.state.safetensors",
    "a_sheet.png",
    "a_shot01.mp4",
    "a_shot02.mp4",
    "a_preview.png",
]


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link", "empty file"])
def test_what_is_not_ours(refuse: Refuse, tmp_path: Path, name: str, kind: str):
    if kind == "file":
        user_file(tmp_path / name)
    elif kind == "folder":
        user_folder(tmp_path / name)
    elif kind == "empty file":
        (tmp_path / name).touch()
    else:
        (tmp_path / "elsewhere").mkdir()
        if kind == "link":
            user_file(tmp_path / "elsewhere" / name)
        (tmp_path / name).symlink_to(Path("elsewhere") / name)
    for more in ([], ["--overwrite"]):
        if name == "a.mp4" and kind == "folder":
            continue  # the folder, then, in which names depend on the time
        assert name in refuse(*SHOTS, *EVERYTHING, "--save_path", "a.mp4", *more)


@pytest.mark.parametrize("name", ["a.json", "a_sheet.png", "a_shot02.mp4", "a_preview.png"])
def test_what_is_not_ours_stays_when_a_run_goes_on(
    run: Run, refuse: Refuse, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(wan2.cli.main, "Console", impatient(1))
        assert run(*SHOTS, "--export_shots", "--save_path", "a.mp4") == 130
    user_file(tmp_path / name)
    words = [*SHOTS, "--export_shots", "--save_path", "a.mp4", "--preview", "1"]
    assert name in refuse(*words, "--resume")
    assert name in refuse("--resume", "a.state.safetensors", "--preview", "1")
    (tmp_path / name).unlink()
    assert run(*words, "--resume") == 0


@pytest.mark.parametrize("content", [b"a film of my own", b""])
def test_a_file_of_the_users_is_no_finished_video(refuse: Refuse, tmp_path: Path, content: bytes):
    (tmp_path / "a.mp4").write_bytes(content)
    assert "a.mp4" in refuse(*GULL, "--save_path", "a.mp4", "--resume", program="wan2")


@pytest.mark.parametrize("name", ["a-002.mp4", "a-002.json", "a-002_sheet.png"])
def test_a_list_beside_a_file_of_the_users(run: Run, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "one.json").write_text(json.dumps(BOARD))
    (tmp_path / "list.txt").write_text("one.json\none.json\n")
    kept = user_file(tmp_path / name).read_bytes()
    for more in ([], ["--overwrite"]):
        assert run("--from_file", "list.txt", "--save_path", "a.mp4", *more) in (1, 2)
        assert (tmp_path / name).read_bytes() == kept
        assert name in capsys.readouterr().err


def test_decoding_beside_a_file_of_the_users(run: Run, tiny: TinyModel, tmp_path: Path):
    assert run(*SHOTS, "--output_type", "latent", "--save_path", "a.safetensors") == 0
    words = ["--latent_path", "a.safetensors", "--vae", str(tiny.vae), "--device", "cpu", "--save_path", "b.mp4"]
    for name in ("b.mp4", "b.json", "b_sheet.png"):
        kept = user_file(tmp_path / name)
        before = raw(tmp_path)
        assert holocine_ext.cli.main([*words, "--overwrite"]) == 2
        assert raw(tmp_path) == before
        kept.unlink()
    assert holocine_ext.cli.main(words) == 0


# What is ours is replaced when it is asked for.


def test_a_finished_video_stays_until_it_is_to_be_replaced(run: Run, refuse: Refuse, tmp_path: Path):
    words = [*SHOTS, *EVERYTHING, "--save_path", "a.mp4"]
    assert run(*words) == 0
    first = raw(tmp_path)
    assert set(first) == {*TAKEN} - {"a.state.safetensors"}
    for seed in ("7", "8"):
        assert "a." in refuse(*words, "--seed", seed)
    assert run(*words, "--seed", "8", "--overwrite") == 0
    second = raw(tmp_path)
    assert second.keys() == first.keys()
    assert all(second[name] != first[name] for name in TAKEN if name != "a.state.safetensors")
    assert json.loads(second["a.json"])["options"]["seed"] == 8


def test_a_finished_list_is_replaced_too(run: Run, refuse: Refuse, tmp_path: Path):
    (tmp_path / "list.txt").write_text("a gull --d 1\na cat --d 2\n")
    assert run("--from_file", "list.txt", "--save_path", "a.mp4", program="wan2") == 0
    refuse("--from_file", "list.txt", "--save_path", "a.mp4", program="wan2")
    (tmp_path / "list.txt").write_text("a gull --d 3\na cat --d 4\n")
    assert run("--from_file", "list.txt", "--save_path", "a.mp4", "--overwrite", program="wan2") == 0
    for number in (1, 2):
        record = json.loads((tmp_path / f"a-{number:03d}.json").read_text())
        assert record["options"]["seed"] == number + 2


def test_of_a_folder_of_frames_only_our_frames_are_removed(run: Run, refuse: Refuse, tmp_path: Path):
    frames, words = tmp_path / "a_frames", [*GULL, "--output_type", "images", "--save_path", "a.mp4"]
    assert run(*words, program="wan2") == 0
    assert {path.name for path in frames.iterdir()} == {f"{number:05d}.png" for number in range(9)}
    (frames / "notes.txt").write_text("the third is the best")
    user_file(frames / "holiday.png")
    user_folder(frames / "chosen")
    mine = {name: value for name, value in raw(frames).items() if not name[0].isdigit()}
    refuse(*words, program="wan2")
    assert run(*words, "--video_length", "5", "--overwrite", program="wan2") == 0
    found = raw(frames)
    assert {name for name in found if name[0].isdigit()} == {f"{number:05d}.png" for number in range(5)}
    assert {name: value for name, value in found.items() if not name[0].isdigit()} == mine
    user_file(frames / "00003.png")
    assert "a_frames" in refuse(*words, "--overwrite", program="wan2")


def test_a_folder_of_the_users_at_the_name_of_the_frames(run: Run, tmp_path: Path):
    frames = user_folder(tmp_path / "a_frames")
    before = raw(frames)
    code = run(*GULL, "--output_type", "images", "--save_path", "a.mp4", program="wan2")
    assert code in (0, 2)
    found = raw(frames)
    assert {name: found[name] for name in before} == before
    assert len(found) == len(before) + (0 if code else 9)


@pytest.mark.parametrize("kind", ["file", "link to a folder"])
def test_no_folder_of_frames(refuse: Refuse, tmp_path: Path, kind: str):
    if kind == "file":
        (tmp_path / "a_frames").write_text("mine")
    else:
        user_folder(tmp_path / "pictures")
        (tmp_path / "a_frames").symlink_to("pictures")
    for more in ([], ["--overwrite"]):
        words = [*GULL, "--output_type", "images", "--save_path", "a.mp4", *more]
        assert "a_frames" in refuse(*words, program="wan2")


def test_decoding_keeps_the_true_record(run: Run, tiny: TinyModel, tmp_path: Path):
    assert run(*SHOTS, "--output_type", "both", "--seed", "11", "--save_path", "a.mp4") == 0
    true = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.mp4").unlink()
    words = ["--latent_path", "a.safetensors", "--vae", str(tiny.vae), "--device", "cpu"]
    for name, more in (("a", ["--overwrite"]), ("b", [])):  # onto their own record, and elsewhere
        assert holocine_ext.cli.main([*words, "--save_path", f"{name}.mp4", *more]) == 0
        record = json.loads((tmp_path / f"{name}.json").read_text())
        for field in ("prompt", "seed", "infer_steps", "guidance_scale", "sample_solver", "lora_weight"):
            assert record["options"][field] == true["options"][field]
        for field in ("checkpoints", "attention", "passes", "captions", "cuts", "created"):
            assert record[field] == true[field]
        assert record["checkpoints"].keys() == {"tokenizer", "t5", "dit_high_noise", "dit_low_noise", "vae"}
        assert record["seconds"]["denoise"] == true["seconds"]["denoise"]


# Names.


def longest(accepted: Callable[[int], bool], most: int) -> int:
    """The largest number below `most` that is accepted, all below it being, too."""
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if accepted(middle) else (low, middle)
    return low


@pytest.mark.parametrize("letter", ["n", NIGHT, "é"])
def test_the_longest_name_that_is_accepted_works(
    run: Run, refuse: Refuse, tmp_path: Path, letter: str, capsys: pytest.CaptureFixture[str]
):
    def words(count: int) -> list[str]:
        return [*SHOTS, *EVERYTHING, "--save_every", "1", "--save_path", f"{letter * count}.mp4"]

    most = longest(lambda count: run(*words(count), "--dry_run") == 0, 256)
    size = len(letter.encode())
    assert 200 <= most * size <= 251
    capsys.readouterr()
    assert run(*words(most)) == 0
    assert "warning" not in capsys.readouterr().err.replace("too few frames", "")
    endings = {name.removeprefix("a") for name in TAKEN if name != "a.state.safetensors"}
    assert set(raw(tmp_path)) == {letter * most + ending for ending in endings}
    assert "too long" in refuse(*words(most + 1))


@pytest.mark.parametrize(
    "path",
    [f"{NIGHT * 80}.mp4", f"{NIGHT * 83}.mp4", f"{NIGHT * 100}.mp4", f"{NIGHT * 90}/a.mp4", f"{'d' * 200}/" * 25],
)
def test_names_that_are_too_long(refuse: Refuse, tmp_path: Path, path: str):
    for words in (GULL, ["--from_file", "list.txt"]):
        (tmp_path / "list.txt").write_text("a gull\n")
        line = refuse(*words, "--save_path", path, program="wan2")
        assert "--save_path" in line
        assert "too long" in line


@pytest.mark.parametrize(
    "name", ["12:30", "a: b", "concat:a", "file:a", "data:,a", "cache:a|b", "100%d", "%05d", "a,b"]
)
@pytest.mark.parametrize("kind", ["video", "images", "both"])
def test_a_name_is_taken_as_it_is(run: Run, tmp_path: Path, name: str, kind: str):
    assert run(*SHOTS, "--export_shots", "--output_type", kind, "--save_path", f"{name}.mp4") == 0
    found = {path.name for path in tmp_path.iterdir()}
    expected = {".json", ".safetensors", "_sheet.png", "_shot01.mp4", "_shot02.mp4"}
    expected |= {"_frames"} if kind == "images" else {".mp4"}
    assert found == {name + ending for ending in expected}
    assert len(read_video(tmp_path / f"{name}_shot01.mp4")) == 5


def test_a_name_of_bytes_that_are_no_text(tiny: TinyModel, tmp_path: Path):
    script = [os.fsencode(word) for word in (sys.executable, str(ROOT / "wan2_generate_video.py"))]
    words = [os.fsencode(word) for word in (*tiny.flags(), *QUICK, *GULL, "--save_path")]
    done = subprocess.run([*script, *words, b"a\xff.mp4"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode in (0, 2)
    assert b"Traceback" not in done.stderr
    found = {os.fsencode(path.name) for path in tmp_path.iterdir()}
    assert found == (set() if done.returncode else {b"a\xff.mp4", b"a\xff.json", b"a\xff.safetensors"})


def test_the_home_folder(run: Run, tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "board.json").write_text(json.dumps(BOARD))
    shutil.copy(tiny.vae, home / "vae.safetensors")
    words = ["--storyboard", "~/board.json", "--vae", "~/vae.safetensors", "--save_path", "~/films/a.mp4"]
    assert run(*words) == 0
    assert (home / "films" / "a.mp4").is_file()
    (home / "list.txt").write_text("~/board.json\n")
    assert run("--from_file", "~/list.txt", "--save_path", "~/films/b.mp4") == 0
    assert (home / "films" / "b-001.mp4").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"home"}


# A link that somebody planted where a run writes for the time being.


def empty(folder: Path) -> None:
    """Remove what is in a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def temporary_names(run: Run, tmp_path: Path) -> list[str]:
    """Every hidden path that a run makes, found by an audit of one."""
    seen: set[str] = set()
    listening = [True]

    def hook(event: str, args: tuple) -> None:
        if listening and event in ("open", "os.rename", "os.mkdir"):
            seen.update(str(path) for path in args[:2] if isinstance(path, str | Path))

    sys.addaudithook(hook)
    assert run(*SHOTS, *EVERYTHING, "--save_path", "a.mp4", "--save_every", "1") == 0
    listening.clear()
    empty(tmp_path)
    names = {Path(name) if Path(name).is_absolute() else tmp_path / name for name in seen}
    inside = [path.relative_to(tmp_path) for path in names if path.is_relative_to(tmp_path)]
    return sorted(str(path) for path in inside if any(part.startswith(".") for part in path.parts))


@pytest.mark.parametrize("kind", ["link", "hard link", "link to a folder"])
def test_a_planted_link_is_not_written_through(run: Run, tmp_path: Path, kind: str):
    names = temporary_names(run, tmp_path)
    assert len(names) > 4
    for name in names:
        place = tmp_path / name
        mine = user_folder(tmp_path / "mine")
        place.parent.mkdir(exist_ok=True)
        if kind == "hard link":
            os.link(mine / "notes.txt", place)
        else:
            place.symlink_to(mine / "notes.txt" if kind == "link" else mine)
        before = raw(mine)
        run(*SHOTS, *EVERYTHING, "--save_path", "a.mp4", "--save_every", "1")
        assert raw(mine) == before, name
        empty(tmp_path)


# The first thing that anyone tries.


def test_the_demo_twice_and_beside_a_file_of_the_users(tmp_path: Path):
    for name in ("holocine_generate_video.py", "examples", "Makefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@" --infer_steps 2\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    demo = ["make", "-o", ".venv/ready", "demo", "BIN=bin"]
    (tmp_path / "out").mkdir()
    mine = user_file(tmp_path / "out" / "demo.json")
    before = raw(tmp_path / "out")
    done = subprocess.run(demo, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode, done.stdout
    assert "out/demo.json" in done.stderr
    assert raw(tmp_path / "out") == before
    mine.unlink()
    for _ in range(2):
        done = subprocess.run(demo, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert set(raw(tmp_path / "out")) == {"demo.mp4", "demo.json", "demo.safetensors", "demo_sheet.png"}
        assert len(read_video(tmp_path / "out" / "demo.mp4")) > 1
        assert set(raw(tmp_path / "bin")) == {"python"}
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_video_of_anothers_is_not_taken_for_ours_by_its_form(refuse: Refuse, tmp_path: Path):
    with VideoWriter(tmp_path / "ours.mp4", 8, (32, 32), {}, 16) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    import av

    with av.open(str(tmp_path / "ours.mp4")) as source, av.open(str(tmp_path / "a.mp4"), "w") as cut:
        stream = cut.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                cut.mux(packet)
    for more in ([], ["--overwrite"]):
        assert "a.mp4" in refuse(*GULL, "--save_path", "a.mp4", *more, program="wan2")
