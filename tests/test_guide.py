"""Every place that the implementation guide names is there: files, folders, names, tests, anchors, code.

So is what the page on training the miniature names.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "HOLOCINE_IMPLEMENTATION_GUIDE.md"
TEXT = GUIDE.read_text(encoding="utf-8")
TRAINING = (ROOT / "docs/nano_training.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SPANS = [
    " ".join(span.split())
    for span in re.findall(r"`([^`]+)`", PROSE + re.sub(r"^```.*?^```$", "", TRAINING, flags=re.M | re.S))
]
FOLDERS = ("wan2", "holocine_ext", "tools", "benchmarks", "tests", "examples")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))] + sorted(ROOT.glob("*.py"))
LONGEST = 600
# Made by the reader, or by a run.
MADE = {"still_frames.py"}


@cache
def defined(path: Path) -> frozenset[str]:
    """The names that a file defines: at its top, and as `Class.name` what its classes hold."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        found |= names(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner}" for part in node.body for inner in names(part)}
            found |= {f"{node.name}.{field}" for field in fields_set_in(node)}
    return frozenset(found)


def names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()


def fields_set_in(node: ast.ClassDef) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == "self":
            yield inner.attr


def files_called(path: str) -> list[Path]:
    """The files whose path ends so, whole parts only."""
    parts = Path(path).parts
    return [file for file in FILES if file.relative_to(ROOT).parts[-len(parts) :] == parts]


def mentions() -> Iterator[tuple[str, str]]:
    """Every `file.py: name` of the guide; what follows in the same sentence as `name` alone is not one."""
    for span in SPANS:
        found = re.fullmatch(r"([\w/]+\.py): ([\w.]+)", span)
        if found:
            yield found[1], found[2]


def test_the_guide_is_short() -> None:
    assert len(TEXT.splitlines()) <= LONGEST


def test_every_mention_of_a_name_in_a_file_resolves() -> None:
    unresolved = []
    found = list(mentions())
    assert len(found) > 50
    for path, wanted in found:
        files = files_called(path)
        if not files:
            unresolved.append(f"{path}: no such file (for {wanted})")
        elif not any(wanted in defined(file) for file in files):
            unresolved.append(f"{path}: {wanted} is not defined there")
    assert not unresolved, "\n" + "\n".join(sorted(set(unresolved)))


def test_every_file_and_folder_exists() -> None:
    unresolved = []
    for span in SPANS:
        if re.fullmatch(r"[\w/]+\.(py|txt|md|toml|safetensors)", span) and span not in MADE and "NAME" not in span:
            there = files_called(span) if span.endswith(".py") else [path for path in ROOT.glob(span)]
            unresolved += [] if there else [span]
        if re.fullmatch(r"(wan2|holocine_ext|tools|benchmarks|tests|models|examples|docs)(/[\w.]+)*/?", span):
            unresolved += [] if (ROOT / span).exists() else [span]
        module = re.match(r"python -m ([\w.]+)", span)
        if module:
            place = ROOT / module[1].replace(".", "/")
            unresolved += [] if place.with_suffix(".py").exists() or place.is_dir() else [span]
    assert not unresolved, "\n" + "\n".join(sorted(set(unresolved)))


def test_every_test_and_class_field_exists() -> None:
    everything = {found for file in FILES for found in defined(file)}
    unresolved = [span for span in SPANS if re.fullmatch(r"test_\w+", span) and span not in everything]
    classes = {found for found in everything if found[0].isupper()}
    unresolved += [span for span in SPANS if re.fullmatch(r"[A-Z]\w*[a-z]\w*\.\w+", span) and span not in everything]
    unresolved += [
        span
        for span in SPANS
        if re.fullmatch(r"([A-Z]+[a-z]\w*){2,}|[A-Z]+(_[A-Z]+)+", span)
        and span not in classes
        and span not in {found.partition(".")[2] for found in everything}
    ]
    assert not unresolved, "\n" + "\n".join(sorted(set(unresolved)))


def test_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PROSE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", PROSE):
        path, _, anchor = target.partition("#")
        if not target.startswith("https://") and not ((ROOT / path).exists() if path else anchor in anchors):
            wrong.append(target)
    assert wrong == []


@pytest.mark.parametrize("code", BLOCKS)
def test_python_in_the_guide_parses(code: str) -> None:
    ast.parse(code)


def test_the_worked_example_runs(tmp_path: Path) -> None:
    code = next(block for block in BLOCKS if "class WithinFrames" in block)
    (tmp_path / "still_frames.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "still_frames.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/still_frames.mp4").is_file()
