"""Where a run writes, and how a file appears whole or not at all. Knows nothing of what is written.

What has its name has reached the disk: a power cut leaves the file whole, or the one before it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path

from wan2.options import LATENT_SUFFIX, VIDEO_SUFFIX, Options

STATE_ENDING = ".state.safetensors"


@dataclass(frozen=True)
class OutputPaths:
    """Everything one run may write, all of it beside each other under one name."""

    folder: Path
    name: str

    def beside(self, ending: str) -> Path:
        """A path of the same name with another ending."""
        return self.folder / f"{self.name}{ending}"

    @property
    def video(self) -> Path:
        """The mp4."""
        return self.beside(VIDEO_SUFFIX)

    def main(self, options: Options) -> Path:
        """What `--output_type` asks for first; when it is there, the run was finished."""
        return {"images": self.images, "latent": self.latents}.get(options.output_type, self.video)

    @property
    def images(self) -> Path:
        """The folder of numbered stills."""
        return self.beside("_frames")

    @property
    def latents(self) -> Path:
        """The latents, with the plan of the run in their metadata."""
        return self.beside(LATENT_SUFFIX)

    @property
    def record(self) -> Path:
        """The JSON record."""
        return self.beside(".json")

    @property
    def state(self) -> Path:
        """How far the run has come, until its files are in place."""
        return self.beside(STATE_ENDING)

    @property
    def preview(self) -> Path:
        """The picture of the unfinished latents, replaced as the run goes on."""
        return self.beside("_preview.png")


def named_outputs(path: Path) -> OutputPaths | None:
    """The names that follow from `--save_path`, when it names a file; in a folder they depend on the time."""
    if path.suffix in (VIDEO_SUFFIX, LATENT_SUFFIX) and not path.is_dir():
        return OutputPaths(path.parent, path.stem)
    return None


def plan_outputs(options: Options, now: datetime) -> OutputPaths:
    """The names of a run's files: those asked for, or time and seed inside the folder asked for."""
    path = options.save_path
    if named := named_outputs(path):
        return named
    name = f"{now:%Y%m%d-%H%M%S}-{options.seed}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return OutputPaths(path, next(name for name in names if not any(path.glob(f"{name}[._]*"))))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the name `path` when the block ends well, else goes.

    Raises:
        OSError: another process writes the same file now.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    with _held(part, path), ExitStack() as undo:
        undo.callback(part.unlink, missing_ok=True)
        yield part
        _to_disk(part)
        part.replace(path)
        undo.pop_all()
        _to_disk(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """`whole_file` for a folder of files; a folder that has the name already is replaced."""
    part = path.with_name(f".{path.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    with _held(part, path), ExitStack() as undo:
        undo.callback(shutil.rmtree, part, ignore_errors=True)
        for left in part.iterdir():
            left.unlink()
        yield part
        for file in (*part.iterdir(), part):
            _to_disk(file)
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
        undo.pop_all()
        _to_disk(path.parent)


@contextmanager
def _held(part: Path, path: Path) -> Iterator[None]:
    """Keep a temporary name to this process until the block ends, where the system and the disk know locks.

    A lock goes with the process that holds it: what a killed one left behind is in nobody's way.

    Raises:
        OSError: another process holds the name.
    """
    if os.name == "nt":  # no file is renamed there that another process has open
        yield
        return
    handle = _locked(part, path)
    try:
        yield
    finally:
        os.close(handle)


def _locked(part: Path, path: Path) -> int:
    import fcntl

    while True:
        handle = os.open(part, os.O_RDONLY if part.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise OSError(errno.EBUSY, "another process is writing it", str(path)) from None
        except OSError:  # a disk without locks
            return handle
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), part.stat()):
                return handle
        os.close(handle)  # whoever had it gave it its final name meanwhile


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk; Windows opens no folder."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
