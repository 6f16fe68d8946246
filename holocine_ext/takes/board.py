"""A storyboard of which shots come from takes, completed by what these say. Reads no tensor."""

from __future__ import annotations

from dataclasses import replace

from holocine_ext.story.direction import Direction
from holocine_ext.story.lengths import ShotLength
from holocine_ext.story.storyboard import Storyboard
from holocine_ext.takes.kept import HeldShot
from holocine_ext.takes.take import Take, read_take
from wan2.errors import InputError


def with_takes(board: Storyboard) -> tuple[Storyboard, tuple[HeldShot, ...]]:
    """The storyboard with every caption and length, and the shots that are held.

    What the storyboard leaves open is that of the first take: size and frames per second.

    Raises:
        InputError: a take that cannot be read, or has no such shot.
    """
    held = [
        _held(board, shot, direction) for shot, direction in enumerate(board.directions) if direction.take is not None
    ]
    if not held:
        return board, ()
    captions, lengths = list(board.shot_captions), list(board.lengths or [None] * len(board.shot_captions))
    for one in held:
        start, stop = one.take.layout.latents[one.number]
        lengths[one.shot] = ShotLength(latents=stop - start)
        captions[one.shot] = captions[one.shot] or one.take.scene.scene.storyboard.shot_captions[one.number]
    first = held[0].take
    size, fps = board.size or (first.shape.height, first.shape.width), board.fps or first.scene.scene.fps
    return replace(board.with_shots(captions, lengths), size=size, fps=fps), tuple(held)


def _held(board: Storyboard, shot: int, direction: Direction) -> HeldShot:
    if direction.take is None:
        raise ValueError("the shot comes from no take")
    place = f"{board.source}: shot {shot + 1}: from"
    try:
        take: Take = read_take(direction.take)
        shots = take.layout.num_shots
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    if not 1 <= direction.number <= shots:
        raise InputError(f"{place} {direction.take}#{direction.number}: the take has shots 1 to {shots}")
    return HeldShot(shot, take, direction.number - 1, direction.strength or 0.0)
