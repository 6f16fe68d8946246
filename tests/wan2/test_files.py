"""Files and folders that appear whole or not at all, and names that one process holds."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from wan2.files import LOCK, Busy, held, is_work_folder, whole_file, whole_folder, work_folder

WholeOne = Callable[[Path], AbstractContextManager[Path]]


def is_png(path: Path) -> bool:
    return path.suffix == ".png"


def whole_stills(path: Path) -> AbstractContextManager[Path]:
    return whole_folder(path, is_png)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_file_appears_only_when_its_block_ends_well(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"
    with whole_file(path) as part:
        part.write_text("new")
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "new"


def test_a_folder_appears_only_when_its_block_ends_well(tmp_path: Path):
    path = tmp_path / "stills"
    with pytest.raises(ValueError, match="no"), whole_stills(path) as part:
        (part / "0.png").touch()
        raise ValueError("no")
    assert not list(tmp_path.iterdir())
    for name in ("0.png", "1.png"):
        with whole_stills(path) as part:
            (part / name).touch()
    assert names(tmp_path) == ["stills", "stills/1.png"]


def test_of_a_folder_only_ours_is_removed(tmp_path: Path):
    path = tmp_path / "stills"
    (path / "mine").mkdir(parents=True)
    for name in ("notes.txt", "0.png", "1.png", "mine/2.png"):
        (path / name).write_text("old")
    with whole_stills(path) as part:
        (part / "0.png").write_text("new")
    assert names(path) == ["0.png", "mine", "mine/2.png", "notes.txt"]
    assert [(path / name).read_text() for name in ("0.png", "mine/2.png", "notes.txt")] == ["new", "old", "old"]
    assert names(tmp_path)[0] == "stills"


def test_what_a_killed_run_left_is_in_nobodys_way(tmp_path: Path):
    for path in (tmp_path / "a.txt", tmp_path / "stills"):
        work = work_folder(path)
        work.mkdir()
        (work / LOCK).touch()
        (work / "a.txt").write_text("half of another, and longer")
        (work / "stills").mkdir()
        (work / "stills" / "9.png").touch()
        assert is_work_folder(work)
    with whole_file(tmp_path / "a.txt") as part:
        part.write_text("new")
    with whole_stills(tmp_path / "stills") as part:
        (part / "0.png").touch()
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt", "stills", "stills/0.png"]


def test_a_link_in_a_left_work_folder_is_never_followed(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()
    work = work_folder(tmp_path / "a.txt")
    work.mkdir()
    (work / LOCK).touch()
    (work / "a.txt").symlink_to(tmp_path / "mine.txt")
    (work / "b").symlink_to(tmp_path / "folder")
    with whole_file(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert names(tmp_path) == ["a.txt", "folder", "folder/kept", "mine.txt"]


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling"])
def test_what_is_no_work_folder_of_ours_is_left_alone(tmp_path: Path, kind: str):
    work = work_folder(tmp_path / "a.txt")
    (tmp_path / "other").mkdir()
    if kind == "file":
        work.write_text("mine")
    elif kind == "folder":
        work.mkdir()
        (work / "notes").write_text("mine")
    else:
        work.symlink_to(tmp_path / ("other" if kind == "link" else "nowhere"))
    before = names(tmp_path)
    with pytest.raises(OSError, match="is not this program's"), whole_file(tmp_path / "a.txt"):
        pytest.fail("came in")
    assert names(tmp_path) == before


def test_folders_that_were_made_and_stay_empty_go_again(tmp_path: Path):
    with suppress(ValueError), held(tmp_path / "one" / "two" / "a"):
        assert (tmp_path / "one" / "two").is_dir()
        raise ValueError
    assert not list(tmp_path.iterdir())
    with held(tmp_path / "one" / "two" / "a"):
        (tmp_path / "one" / "kept").touch()
    assert names(tmp_path) == ["one", "one/kept"]


@pytest.mark.parametrize("whole", [whole_file, whole_stills])
def test_a_second_process_is_refused_and_the_first_loses_nothing(tmp_path: Path, whole: WholeOne):
    path = tmp_path / "a"
    with whole(path) as part:
        file = part / "0.txt" if part.is_dir() else part
        file.write_text("first")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            assert pool.submit(refused, path).result() == str(path)
    assert (path / "0.txt" if path.is_dir() else path).read_text() == "first"


def refused(path: Path) -> str | None:
    try:
        with held(path):
            return None
    except Busy as busy:
        return str(busy.filename)


def write_often(path: Path, letter: str, whole_one: bool) -> None:
    done = 0
    while done < 20:
        with suppress(Busy):
            if whole_one:
                with whole_file(path) as part:
                    part.write_text(letter * 1000)
                    part.write_text(letter * 50_000)
            else:
                with whole_stills(path.with_suffix("")) as part:
                    for number in range(3):
                        (part / f"{number}.png").write_text(letter)
            done += 1
        if whole_one:
            assert len(text := path.read_text()) == 50_000 and text == text[0] * 50_000


@pytest.mark.skipif(os.name == "nt", reason="where a file that is open is not renamed")
@pytest.mark.parametrize("whole_one", [True, False], ids=["file", "folder"])
def test_processes_that_write_one_name_at_once_leave_it_whole(tmp_path: Path, whole_one: bool):
    path = tmp_path / "a.txt"
    if whole_one:
        path.write_text("x" * 50_000)
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_often, [path] * 4, "abcd", [whole_one] * 4))
    if whole_one:
        assert path.read_text()[0] in "abcd" and names(tmp_path) == ["a.txt"]
    else:
        assert names(tmp_path) == ["a", "a/0.png", "a/1.png", "a/2.png"]
        assert len({(tmp_path / "a" / f"{number}.png").read_text() for number in range(3)}) == 1
