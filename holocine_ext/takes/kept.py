"""Shots of a video that come from takes: where their latents lie, and what a record says of them. Integers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holocine_ext.shots.layout import ShotLayout
from holocine_ext.takes.take import Take
from wan2.errors import InputError
from wan2.plan.pieces import Draw, Origin, part_of
from wan2.shapes import VideoShape
from wan2.weights.fingerprint import fingerprint


@dataclass(frozen=True)
class HeldShot:
    """A shot that is that of a take. `shot` and `number` count from 0, here and there; `until` as in `Piece`."""

    shot: int
    take: Take
    number: int
    until: float = 0.0

    def note(self) -> dict[str, Any]:
        """What the record says of it; shots count from 1 there."""
        take = self.take
        print_ = fingerprint([take.latents])["fingerprint"]
        came = f"{take.path.name}#{self.number + 1}"
        return {"shot": self.shot + 1, "from": came, "until": self.until, "latents": print_}


@dataclass(frozen=True)
class Kept:
    """Everything of a video that comes from takes, and what its record says of it."""

    origin: Origin = Origin()
    notes: tuple[Mapping[str, Any], ...] = ()


def keep(held: Sequence[HeldShot], layout: ShotLayout, shape: VideoShape, seed: int) -> Kept:
    """The origin of a video of which some shots are held; the noise of the others is that of its seed.

    Raises:
        InputError: a take of another size, or a shot of another length.
    """
    pieces = []
    for one in sorted(held, key=lambda one: one.shot):
        start, stop = layout.latents[one.shot]
        _check(one, shape, stop - start)
        for piece in one.take.shot(one.number):
            pieces.append(replace(piece, place=start + piece.place, until=one.until))
    noise: list[Draw] = []
    place, own = 0, (Draw(seed, shape.latent_frames, 0, shape.latent_frames),)
    for piece in pieces:
        noise += part_of(own, place, piece.place - place)
        known = () if piece.until else part_of(piece.source.noise, piece.first, piece.count)
        noise += known or part_of(own, piece.place, piece.count)
        place = piece.place + piece.count
    noise += part_of(own, place, shape.latent_frames - place)
    return Kept(Origin(tuple(pieces), tuple(noise)), tuple(one.note() for one in held))


def _check(one: HeldShot, shape: VideoShape, frames: int) -> None:
    take, (first, stop) = one.take, one.take.layout.latents[one.number]
    if (take.shape.height, take.shape.width) != (shape.height, shape.width):
        sizes = f"{take.shape.height}x{take.shape.width}, this video {shape.height}x{shape.width}"
        raise InputError(f"{take.path}: is of {sizes} pixels; held shots need the same")
    if stop - first != frames:
        lengths = f"{stop - first} latent frames, shot {one.shot + 1} here {frames}"
        raise InputError(f"{take.path}: its shot {one.number + 1} has {lengths}; a held shot keeps its length")
