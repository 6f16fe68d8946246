"""Shots of a video that come from takes: where their latents lie, and what a record says of them. Integers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holocine_ext.shots.layout import ShotLayout
from holocine_ext.takes.cast import CastShot, frames_of
from holocine_ext.takes.take import Take
from wan2.errors import InputError
from wan2.plan.begun import Begun
from wan2.plan.pieces import Draw, Origin, Piece, part_of
from wan2.shapes import VideoShape
from wan2.weights.fingerprint import fingerprint


@dataclass(frozen=True)
class HeldShot:
    """A shot that is that of a take. `shot` and `number` count from 0, here and there; `until` as in `Piece`.

    again: it begins as the take's shot began, which was made in part from another.
    """

    shot: int
    take: Take
    number: int
    until: float = 0.0
    again: bool = False

    def note(self) -> dict[str, Any]:
        """What the record says of it; shots count from 1 there."""
        take = self.take
        print_ = fingerprint([take.latents])["fingerprint"]
        came = f"{take.path.name}#{self.number + 1}"
        return {"shot": self.shot + 1, "from": came, "until": self.until, "latents": print_}


@dataclass(frozen=True)
class Kept:
    """Everything of a video that comes from elsewhere, and what its record says of it.

    fitted: how pictures and videos were brought to its size, a line each.
    """

    origin: Origin = Origin()
    notes: tuple[Mapping[str, Any], ...] = ()
    cast: tuple[Mapping[str, Any], ...] = ()
    begun: Mapping[str, Any] | None = None
    fitted: tuple[str, ...] = ()

    def beginning(self, begun: Begun) -> Kept:
        """The same for a video whose every frame begins from another."""
        pieces = (*begun.origin.pieces, *self.origin.pieces)
        fitted = (*self.fitted, *([begun.fitted] if begun.fitted else []))
        return replace(self, origin=replace(self.origin, pieces=pieces), begun=begun.note, fitted=fitted)

    @property
    def told(self) -> dict[str, Any]:
        """What a record says of the cast and of the video that all begins from; nothing where there is neither."""
        cast = {"cast": list(self.cast)} if self.cast else {}
        return cast | ({"begun": dict(self.begun)} if self.begun else {})

    @property
    def holds(self) -> bool:
        """Whether anything is held while the rest is made."""
        return bool(self.notes or self.cast)

    def is_all(self, layout: ShotLayout) -> bool:
        """Whether every shot of a video is held, so that nothing is made."""
        return sum(note.get("until") == 0 for note in self.notes) == layout.num_shots

    @property
    def behind(self) -> tuple[int, ...]:
        """The latent frames of each of the cast, behind the end of the video."""
        return tuple(frames_of(note) for note in self.cast)


def keep(
    held: Sequence[HeldShot],
    layout: ShotLayout,
    shape: VideoShape,
    own: Sequence[Draw],
    cast: Sequence[CastShot] = (),
) -> Kept:
    """The origin of a video of which some shots are held; the noise of the others is its own, see `own_noise`.

    `shape` is that of the video with its cast, which lies behind the shots of `layout`.

    Raises:
        InputError: a take of another size, or a shot of another length.
    """
    pieces = []
    for one in sorted(held, key=lambda one: one.shot):
        start, stop = layout.latents[one.shot]
        _check(one, shape, stop - start)
        found = one.take.start_of(one.number) if one.again else one.take.shot(one.number)
        pieces += [replace(piece, place=start + piece.place, until=one.until) for piece in found]
    place = layout.latent_frames
    for member in cast:
        pieces += [replace(piece, place=place + piece.place) for piece in member.pieces]
        place += member.frames
    origin = Origin(tuple(pieces), _noise(pieces, own, shape.latent_frames))
    fitted = tuple(member.fitted for member in cast if member.fitted)
    return Kept(origin, tuple(one.note() for one in held), tuple(member.note for member in cast), fitted=fitted)


def _noise(pieces: Sequence[Piece], own: Sequence[Draw], frames: int) -> tuple[Draw, ...]:
    """The noise of a video: its own, but for pieces that are held to the end, which have theirs."""
    noise: list[Draw] = []
    place = 0
    for piece in pieces:
        known = () if piece.until else part_of(piece.source.noise, piece.first, piece.count)
        noise += [*part_of(own, place, piece.place - place), *(known or part_of(own, piece.place, piece.count))]
        place = piece.place + piece.count
    return (*noise, *part_of(own, place, frames - place))


def own_noise(layout: ShotLayout, seed: int, seeds: Sequence[int | None] = (), behind: int = 0) -> tuple[Draw, ...]:
    """The noise of a video: drawn for the whole of it, or by shots where one has a seed of its own.

    behind: latent frames behind its end, whose noise changes nothing of that of the others.
    """
    frames = layout.latent_frames
    if behind:
        return (*own_noise(layout, seed, seeds), Draw(seed, frames + behind, frames, behind))
    if all(one is None for one in seeds):
        return (Draw(seed, frames, 0, frames),)
    draws = []
    for (start, stop), own in zip(layout.latents, seeds, strict=True):
        count = stop - start
        draws.append(Draw(seed, frames, start, count) if own is None else Draw(own, count, 0, count))
    return tuple(draws)


def _check(one: HeldShot, shape: VideoShape, frames: int) -> None:
    take, (first, stop) = one.take, one.take.layout.latents[one.number]
    if (take.shape.height, take.shape.width) != (shape.height, shape.width):
        sizes = f"{take.shape.height}x{take.shape.width} pixels, this video of {shape.height}x{shape.width}"
        raise InputError(f"{take.path}: is of {sizes}; held shots need the same")
    if stop - first != frames:
        lengths = f"{stop - first} latent frames, shot {one.shot + 1} here {frames}"
        raise InputError(f"{take.path}: its shot {one.number + 1} has {lengths}; a held shot keeps its length")


def held_again(take: Take) -> list[HeldShot]:
    """The shots that a take held itself, each as it held it."""
    found = []
    for note in take.scene.held:
        shot, until = note.get("shot"), note.get("until")
        if type(shot) is not int or not 1 <= shot <= take.layout.num_shots or not isinstance(until, float):
            raise InputError(f"{take.path}: what its record says of held shots does not fit it")
        found.append(HeldShot(shot - 1, take, shot - 1, until, again=until > 0))
    return found
