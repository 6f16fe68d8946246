"""Names of a run's files, and files that appear whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path

import pytest

from wan2.options import make_options
from wan2.outputs import plan_outputs, whole_file, whole_folder
from wan2.presets import WAN22_T2V

WholeOne = Callable[[Path], AbstractContextManager[Path]]
NOON = datetime(2026, 1, 2, 12, 30, 45)


def test_a_file_name_is_kept_and_its_companions_lie_beside_it():
    options = make_options(WAN22_T2V, {"prompt": "x", "save_path": Path("out/a.b.mp4")})
    names = plan_outputs(options, NOON)
    assert names.video == Path("out/a.b.mp4")
    assert [names.record, names.latents] == [Path("out/a.b.json"), Path("out/a.b.safetensors")]
    assert [names.images, names.preview] == [Path("out/a.b_frames"), Path("out/a.b_preview.png")]


def test_in_a_folder_the_name_is_time_and_seed_and_never_one_that_is_taken(tmp_path: Path):
    options = make_options(WAN22_T2V, {"prompt": "x", "save_path": tmp_path, "seed": 7})
    assert plan_outputs(options, NOON).video == tmp_path / "20260102-123045-7.mp4"
    (tmp_path / "20260102-123045-7.json").touch()
    assert plan_outputs(options, NOON).video == tmp_path / "20260102-123045-7-2.mp4"


def test_a_file_appears_only_when_its_block_ends_well(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"
    with whole_file(path) as part:
        part.write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"


def test_a_folder_appears_only_when_its_block_ends_well(tmp_path: Path):
    path = tmp_path / "stills"
    with pytest.raises(ValueError, match="no"), whole_folder(path) as part:
        (part / "0.png").touch()
        raise ValueError("no")
    assert not list(tmp_path.iterdir())
    for name in ("0.png", "1.png"):
        with whole_folder(path) as part:
            (part / name).touch()
    assert [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png")] == ["stills/1.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["stills"]


def test_what_a_killed_run_left_is_in_nobodys_way(tmp_path: Path):
    (tmp_path / ".a.part.txt").write_text("half of another, and longer")
    (tmp_path / ".stills.part").mkdir()
    (tmp_path / ".stills.part" / "9.png").touch()
    with whole_file(tmp_path / "a.txt") as part:
        part.write_text("new")
    with whole_folder(tmp_path / "stills") as part:
        (part / "0.png").touch()
    assert (tmp_path / "a.txt").read_text() == "new"
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["0.png", "a.txt", "stills"]


@pytest.mark.skipif(os.name == "nt", reason="where a file that is open is not renamed")
@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_second_process_is_refused_and_the_first_loses_nothing(tmp_path: Path, whole: WholeOne):
    path = tmp_path / "a"
    with whole(path) as part:
        file = part / "0.txt" if part.is_dir() else part
        file.write_text("first")
        with pytest.raises(OSError, match="another process is writing it") as refused, whole(path):
            pytest.fail("came in")
    assert refused.value.filename == str(path)
    assert (path / "0.txt" if path.is_dir() else path).read_text() == "first"


def write_often(path: Path, letter: str) -> None:
    done = 0
    while done < 20:
        with suppress(OSError), whole_file(path) as part:
            part.write_text(letter * 1000)
            part.write_text(letter * 50_000)
            done += 1
        assert len(text := path.read_text()) == 50_000 and text == text[0] * 50_000


@pytest.mark.skipif(os.name == "nt", reason="where a file that is open is not renamed")
def test_processes_that_write_one_file_at_once_leave_it_whole(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("x" * 50_000)
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_often, [path] * 4, "abcd"))
    assert path.read_text()[0] in "abcd" and [file.name for file in tmp_path.iterdir()] == ["a.txt"]
