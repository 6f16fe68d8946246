"""An earlier run as its files tell of it: scene, settings, seed, and where its latents lie. Reads no tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from holocine_ext.saved import SavedScene, read_scene, saved_shots
from holocine_ext.shots.layout import ShotLayout
from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.plan.ours import ORIGIN
from wan2.plan.pieces import Draw, Origin, Piece, Source, pieces_from, read_origin
from wan2.plan.saved_latents import TENSOR
from wan2.plan.told import of_latents, settings_told, told_by
from wan2.request.flat import FILES
from wan2.request.output import LATENT_SUFFIX
from wan2.shapes import VideoShape
from wan2.weights.header import CheckpointHeader, read_header

# What a run says of its scene by itself, and what is no part of the film.
NOT_TAKEN = frozenset({"prompt", "num_frames", "fps", "latent_path", *FILES})


@dataclass(frozen=True)
class Take:
    """An earlier run. `path`: the file it was found by, which messages name; `record`: what that says."""

    path: Path
    record: Mapping[str, Any]

    @cached_property
    def scene(self) -> SavedScene:
        """Its scene. Raises `InputError` where the run was of another program."""
        return read_scene(self.record, str(self.path))

    @cached_property
    def values(self) -> dict[str, Any]:
        """The settings that the film depends on, by their flat names.

        Raises:
            InputError: one that is of another type.
        """
        return settings_told(self.path, self.record, NOT_TAKEN)

    @cached_property
    def shape(self) -> VideoShape:
        """The size of its video."""
        sizes = [self.record.get("num_frames"), *(self.values.get(name) for name in ("height", "width"))]
        if not all(type(size) is int and size > 0 for size in sizes):
            raise InputError(f"{self.path}: its record says no size")
        return VideoShape(*sizes)  # type: ignore[arg-type]

    @cached_property
    def layout(self) -> ShotLayout:
        """Where its shots lie."""
        return saved_shots(self.record, str(self.path), self.shape)[0]

    @cached_property
    def latents(self) -> Path:
        """The file of its latents.

        Raises:
            InputError: there is none, or the one in its place is that of another run or of another size.
        """
        path = self.path.with_suffix(LATENT_SUFFIX)
        if not path.is_file():
            raise InputError(f"{self.path}: its latents are not kept next to it, as {path.name}; it cannot be held")
        found = of_latents(path)
        if any(found.get(name) != self.record.get(name) for name in ORIGIN):
            raise InputError(f"{path}: holds the latents of another run than {self.path.name}")
        return path

    @cached_property
    def whole(self) -> Source:
        """All its latents."""
        header, shape = _header(self.latents), (1, *self.shape.latent)
        if header.shapes.get(TENSOR) != shape:
            raise InputError(f"{self.latents}: holds no latents of {list(shape)}, which its record speaks of")
        return Source(self.latents, TENSOR, shape, self.origin.noise or self._noise())

    @cached_property
    def origin(self) -> Origin:
        """What of its latents comes from elsewhere."""
        return read_origin(self.latents, _header(self.latents))

    def _noise(self) -> tuple[Draw, ...]:
        seed, frames = self.values.get("seed"), self.shape.latent_frames
        return (Draw(seed, frames, 0, frames),) if isinstance(seed, int) else ()

    def shot(self, number: int, most: int | None = None) -> tuple[Piece, ...]:
        """Where the latents of a shot come from, from 0 on. number: of the shot, from 0. most: of its latent frames."""
        first, stop = self.layout.latents[number]
        count = stop - first
        return pieces_from(self.whole, self.origin, first, count if most is None else min(count, most))

    def start_of(self, number: int) -> tuple[Piece, ...]:
        """What a shot that was made in part from another began from, likewise."""
        first, stop = self.layout.latents[number]
        begun = [piece for piece in self.origin.pieces if piece.until and first <= piece.place < stop]
        return tuple(replace(piece, place=piece.place - first) for piece in begun)


def read_take(path: Path) -> Take:
    """The run that made a video, a record or latents.

    Raises:
        InputError: no such file, or one that does not tell of a run.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    record = told_by(path)
    if not record:
        raise InputError(f"{path}: does not say how it was made; was it written by this program, with its record?")
    return Take(path, record)


def _header(path: Path) -> CheckpointHeader:
    with Reading(str(path)):
        return read_header(path)
