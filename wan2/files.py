"""How a file or a folder appears whole or not at all, and how one process keeps others from it.

Everything unfinished lies in a hidden work folder on the same disk, which holds a lock. What has its name has reached
the disk: a power cut leaves the file whole, or the one before it. Knows nothing of what is written.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = "lock"
WORK_BYTES = len("..part")
"""How much longer the name of a work folder is than the name it stands for."""
# A work folder may be removed by its last owner in the moment it is found.
TRIES = 10

Whole = Callable[[Path], AbstractContextManager[Path]]
"""Given a path, a block that writes to a temporary one, which takes the name when the block ends well."""


class Busy(OSError):
    """Another process holds the name; `filename` is that name."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EBUSY, "another process is writing it", str(path))


def work_folder(path: Path) -> Path:
    """Where everything unfinished of `path` lies."""
    return path.with_name(f".{path.name}.part")


def is_work_folder(path: Path) -> bool:
    """Whether a work folder of this program stands at `path`, held or left by a killed process."""
    if path.is_symlink() or not path.is_dir():
        return False
    try:
        names = [inside.name for inside in path.iterdir()]
    except OSError:
        return False
    return not names or LOCK in names


@contextmanager
def held(path: Path) -> Iterator[Path]:
    """An empty work folder that belongs to this process until the block ends; then it is gone.

    The lock goes with the process that holds it: what a killed one left is taken over. Folders above are made, and
    those that are still empty at the end go again.

    Raises:
        Busy: another process holds it.
        OSError: something stands there that is no work folder, or it cannot be made.
    """
    work = work_folder(path)
    with ExitStack() as undo:
        for above in reversed([folder for folder in work.parents if not folder.exists()]):
            above.mkdir(exist_ok=True)
            undo.callback(_remove_empty, above)
        lock = _locked(work, path)
        # Elsewhere the lock goes while it is held; Windows removes no file that is open.
        for last in (partial(_remove_work, work), lock.release)[:: 1 if os.name == "nt" else -1]:
            undo.callback(last)
        _empty(work)
        yield work


def _locked(work: Path, path: Path) -> BaseFileLock:
    """The lock of a work folder, which the last owner may be removing at this moment."""
    from filelock import FileLock, Timeout

    for _ in range(TRIES):
        with suppress(FileExistsError):
            work.mkdir()
        if not is_work_folder(work):
            continue
        lock = FileLock(work / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise Busy(path) from None
        except (FileNotFoundError, FileExistsError):
            continue
        return lock
    if os.path.lexists(work) and not is_work_folder(work):
        raise OSError(errno.EEXIST, "is in the way, and is not this program's; remove or rename it", str(work))
    raise Busy(path)


def sweep(path: Path) -> None:
    """Remove the work folder that a killed process left, if it did."""
    if is_work_folder(work_folder(path)):
        with suppress(Busy), held(path):
            pass


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to; what is there takes the name `path` when the block ends well, else it goes.

    Raises:
        Busy: another process writes the same file now.
        OSError: the file cannot be written.
    """
    with held(path) as work, placed(work, path) as part:
        yield part


@contextmanager
def whole_folder(path: Path, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """`whole_file` for a folder of files; see `placed_folder`."""
    with held(path) as work, placed_folder(work, path, ours) as part:
        yield part


@contextmanager
def placed(work: Path, path: Path) -> Iterator[Path]:
    """`whole_file` within a work folder that is held already."""
    part = work / path.name
    with ExitStack() as undo:
        undo.callback(part.unlink, missing_ok=True)
        yield part
        _to_disk(part)
        part.replace(path)
        undo.pop_all()
        _to_disk(path.parent)


@contextmanager
def placed_folder(work: Path, path: Path, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """A temporary folder to write files to; when the block ends well they are the folder `path`.

    Of a folder that has the name already, only files go of which `ours` says that they are this program's.
    """
    part = work / path.name
    part.mkdir()
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, part, ignore_errors=True)
        yield part
        for file in (*part.iterdir(), part):
            _to_disk(file)
        old = [file for file in path.iterdir() if ours(file)] if path.is_dir() else []
        if not path.exists():
            part.replace(path)
        elif len(old) == len(list(path.iterdir())):
            path.replace(work / f"{path.name}.old")
            part.replace(path)
        else:
            _move_into(part, path, old)
        undo.pop_all()
        _to_disk(path.parent)


def _move_into(part: Path, path: Path, old: list[Path]) -> None:
    """The files of one folder into another, in which those of `old` go."""
    names = {file.name for file in part.iterdir()}
    for name in sorted(names):
        (part / name).replace(path / name)
    for file in old:
        if file.name not in names:
            file.unlink()
    part.rmdir()
    _to_disk(path)


def _empty(work: Path) -> None:
    """What a killed process left unfinished goes; links are removed, never followed."""
    for left in work.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left.name != LOCK:
            left.unlink()


def _remove_work(work: Path) -> None:
    """A process that opened the lock meanwhile finds a file without a name, and tries again."""
    with suppress(OSError):
        _empty(work)
        (work / LOCK).unlink(missing_ok=True)
        work.rmdir()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk; Windows opens no folder."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
