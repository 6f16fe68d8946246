"""Where a run writes, and how a file appears whole or not at all. Knows nothing of what is written.

What has its name has reached the disk: a power cut leaves the file whole, or the one before it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
    """A temporary name beside `path` to write to; it takes the name `path` when the block ends well, else goes."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        _to_disk(part)
        part.replace(path)
        _to_disk(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """`whole_file` for a folder; a folder that has the name already is replaced."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        for file in (*part.iterdir(), part):
            _to_disk(file)
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
        _to_disk(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk; Windows opens no folder."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
