"""Every path that a run may write, in one list. Knows nothing of how files are written (`files.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from wan2.plan.marks import is_our_png, is_our_video
from wan2.plan.ours import are_our_frames, is_latents, is_record, is_state
from wan2.plan.saved import STATE_ENDING
from wan2.request.output import CODECS, LATENT_SUFFIX, VIDEO_SUFFIX
from wan2.request.request import Request


@dataclass(frozen=True)
class OutputPaths:
    """The names of one run, all of them in one folder and of one stem."""

    folder: Path
    name: str
    video_suffix: str = VIDEO_SUFFIX

    def beside(self, ending: str) -> Path:
        """A path of the same name with another ending."""
        return self.folder / f"{self.name}{ending}"

    @property
    def video(self) -> Path:
        """The video."""
        return self.beside(self.video_suffix)

    def main(self, request: Request) -> Path:
        """What `--output_type` asks for first; when it is there, the run was finished."""
        return {"images": self.images, "latent": self.latents}.get(request.output.output_type, self.video)

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


class Chapter(NamedTuple):
    """A part of a video that has a name: its first frame and the one after its last."""

    first: int
    stop: int
    title: str


class Target(NamedTuple):
    """A path that a run may write: what would lie there, in words, and whether what lies there is this program's."""

    what: str
    path: Path
    ours: Callable[[Path], bool]


Also = Callable[[OutputPaths], Sequence[Target]]
"""What an extension writes besides, by the names of the run."""
Inputs = Mapping[str, Sequence[Path]]
"""Setting -> the files that a run reads by it."""


def nothing_else(_: OutputPaths) -> Sequence[Target]:
    """The base writes nothing but its own files."""
    return ()


def targets(request: Request, paths: OutputPaths, also: Also = nothing_else) -> tuple[Target, ...]:
    """Everything that a run may write under its names, the state last."""
    found = []
    if request.output.writes_video:
        found.append(Target("video", paths.video, is_our_video))
    if request.output.output_type == "images":
        found.append(Target("folder of frames", paths.images, are_our_frames))
    if request.keeps_latents:
        found.append(Target("latents", paths.latents, is_latents))
    if not request.output.no_metadata:
        found.append(Target("record", paths.record, is_record))
    found += also(paths)
    if request.output.preview:
        found.append(Target("preview", paths.preview, is_our_png))
    if request.latent_path is None:
        found.append(Target("state", paths.state, is_state))
    return tuple(found)


def named_outputs(path: Path) -> OutputPaths | None:
    """The names that follow from `--save_path`, when it names a file; in a folder they depend on the time."""
    if path.is_dir():
        return None
    if path.suffix in CODECS.values():
        return OutputPaths(path.parent, path.stem, path.suffix)
    return OutputPaths(path.parent, path.stem) if path.suffix == LATENT_SUFFIX else None


def names_in_folder(request: Request, now: datetime) -> OutputPaths:
    """The names of a run whose `--save_path` is a folder; several of one second have numbers, too."""
    output = request.output
    name = f"{now:%Y%m%d-%H%M%S}-{request.seed}"
    return OutputPaths(output.save_path, f"{output.stem}-{name}" if output.stem else name, CODECS[output.codec])
