"""The corpus of bad inputs, `data/bad_inputs.json`: each refused in one line, with exit code 2 and nothing written.

A row has the program, the words after those of a run that could start (`ready`), the files they need, byte for byte as
Latin-1 (or pieces of it and how often they repeat), and the line that must answer, or its beginning.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import holocine_ext.cli
import wan2.cli.main
from tests.tiny import QUICK, TinyModel

ROOT = Path(__file__).parents[1]
MAIN = {"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}
ROWS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data/bad_inputs.json").read_text())
HEAVY = ("torch", "diffusers", "transformers", "numpy", "av", "PIL")
GROUP = 40
SLOW = 2.0


def words_of(row: dict[str, Any], tiny: TinyModel) -> list[str]:
    start = [*tiny.flags(), *QUICK] if row["ready"] else ["--device", "cpu", "--vae", str(tiny.vae)]
    return [*start, *row["words"]]


def write_files(row: dict[str, Any], folder: Path) -> None:
    for name in ("folder", "text"):
        if name in row["words"]:
            (folder / name).mkdir() if name == "folder" else (folder / name).write_text("words")
    for name, content in row["files"].items():
        pieces = [[content, 1]] if isinstance(content, str) else content
        (folder / name).write_bytes(b"".join(text.encode("latin-1") * times for text, times in pieces))


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_there_are_enough_and_no_two_are_the_same():
    assert len({json.dumps(row, sort_keys=True) for row in ROWS}) == len(ROWS) >= 300


@pytest.mark.parametrize("start", range(0, len(ROWS), GROUP))
def test_bad_input_is_refused_in_one_line(
    start: int, tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for number, row in enumerate(ROWS[start : start + GROUP], start):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        write_files(row, folder)
        before, since = listing(folder), time.process_time()
        code = MAIN[row["program"]](words_of(row, tiny))
        out, err = capsys.readouterr()
        assert (code, out, len(err.splitlines())) == (2, "", 1), (row, err)
        assert err.partition(": ")[2].startswith(row["line"]), row
        assert listing(folder) == before, row
        assert time.process_time() - since < SLOW, row


@pytest.mark.parametrize("number", range(0, len(ROWS), 60))
def test_a_sample_through_the_real_scripts(number: int, tiny: TinyModel, tmp_path: Path):
    row = ROWS[number]
    write_files(row, tmp_path)
    before = listing(tmp_path)
    script = [sys.executable, str(ROOT / f"{row['program']}_generate_video.py")]
    words = [word.encode("utf-8", "surrogateescape") for word in words_of(row, tiny)]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run([*script, *words], cwd=tmp_path, capture_output=True, check=False, env=environment)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, len(lines)) == (2, 1), lines
    assert lines[0].partition(": ")[2].startswith(row["line"])
    assert listing(tmp_path) == before


# Run by a process of its own: every row in its folder, and after which one something heavy was there first.
ALL_ROWS = f"""
import json, os, sys, time
from contextlib import redirect_stderr
import holocine_ext.cli, wan2.cli.main
main = {{"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}}
codes, loaded, slowest = set(), [], 0.0
for program, words, folder in json.loads(sys.stdin.read()):
    os.chdir(folder)
    since = time.process_time()
    with open(os.devnull, "w", errors="replace") as nothing, redirect_stderr(nothing):
        codes.add(main[program](words))
    slowest = max(slowest, time.process_time() - since)
    if sys.modules.keys() & {set(HEAVY)!r}:
        loaded.append(words)
        break
print(json.dumps([sorted(codes), loaded, slowest]))
"""


def test_no_bad_input_loads_a_heavy_library(tiny: TinyModel, tmp_path: Path):
    calls = []
    for number, row in enumerate(ROWS):
        (tmp_path / str(number)).mkdir()
        write_files(row, tmp_path / str(number))
        calls.append((row["program"], words_of(row, tiny), str(tmp_path / str(number))))
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:surrogateescape"}
    command, told = [sys.executable, "-c", ALL_ROWS], json.dumps(calls)
    done = subprocess.run(command, input=told, env=environment, capture_output=True, text=True, check=True)
    codes, loaded, slowest = json.loads(done.stdout)
    assert (codes, loaded) == ([2], [])
    assert slowest < SLOW
