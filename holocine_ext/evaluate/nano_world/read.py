"""Reads the facts of a nano film from its pixels: draws every possible scene and keeps the one that fits best.

Does not know how the film was made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from holocine_ext.evaluate.nano_world.world import (
    COLOURS,
    FRAMINGS,
    HATS,
    LIGHTS,
    PLACES,
    SHAPES,
    SIDES,
    SIZE,
    Character,
    Scene,
    Shot,
    draw_at,
)

CLIP = 60.0
"""The most that one pixel can be wrong by (of 255), so that a misplaced character does not outweigh the background."""
CUT = 12.0
"""Mean absolute change between neighbouring frames above which there is a cut (of 255): motion stays under 8, and
the world's own cuts are all above 18."""
STILL = 0.25
"""Movement in pixels a frame below which a character stands still; the world's slowest walks at 0.29."""

KEPT = 512
"""Candidates whose drawings are kept, 0.2 MB each: enough for every place, light, side, framing, shape and colour."""

Frames = NDArray[np.uint8]
COARSE = np.arange(4, SIZE - 3, 3, dtype=np.float32)
OUTSIDE = np.array([-3 * SIZE], np.float32)


@dataclass(frozen=True)
class ShotReading:
    """What one shot shows; names as in `holocine_ext.evaluate.nano_world.world`."""

    place: str
    light: str
    side: str
    framing: str
    shape: str
    colour: str
    hat: str
    motion: str
    error: float
    """Mean absolute difference to the drawing that fits best, of 255."""


def find_cuts(frames: Frames) -> list[int]:
    """First frames of every shot but the first, in uint8 frames [T, 64, 64, 3]: peaks of change."""
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    padded = np.pad(change, 1)
    return [i + 1 for i, c in enumerate(change) if c > CUT and c >= padded[i] and c > padded[i + 2]]


def read_shot(frames: Frames) -> ShotReading:
    """Read one shot, uint8 [T, 64, 64, 3], T >= 3."""
    middle, last = len(frames) // 2, len(frames) - 1
    scene, x, error = _fit(frames[middle])
    shot = scene.shots[0]
    speed = (_locate(frames[last], scene, x) - _locate(frames[0], scene, x)) / last
    motion = "still" if abs(speed) < STILL else "right" if speed > 0 else "left"
    (who,) = scene.characters
    return ShotReading(
        scene.place, shot.light, shot.side, shot.framing, who.shape, who.colour, scene.hat, motion, error
    )


def _fit(frame: Frames) -> tuple[Scene, float, float]:
    """The scene of one still shot that fits a frame best, where its character stands, and the error left."""
    best, x, error = None, 0.0, np.inf
    backgrounds = sorted(_backgrounds(), key=lambda scene: _misfits(frame, scene, OUTSIDE).item())
    for background, shape, colour in product(backgrounds[:3], SHAPES, COLOURS):
        scene = replace(background, characters=(Character(colour, shape),))
        misfits = _distances(frame, _coarse(scene))
        if misfits.min() < error:
            best, x, error = scene, float(COARSE[misfits.argmin()]), float(misfits.min())
    assert best is not None
    at = np.array([_locate(frame, best, x)], np.float32)
    hatted = [replace(best, hat=hat) for hat in HATS]
    errors = [_misfits(frame, scene, at).item() for scene in hatted]
    return hatted[int(np.argmin(errors))], float(at[0]), min(errors)


def _backgrounds() -> Iterable[Scene]:
    for place, light, side, framing in product(PLACES, LIGHTS, SIDES, FRAMINGS):
        yield Scene(place, "black", (Character("red", "circle"),), (Shot(0, 1, framing, "still", light, side),))


def _locate(frame: Frames, scene: Scene, near: float) -> float:
    """Where the character of `scene` stands in a frame, in pixels; of equal fits the one nearest to `near`."""
    coarse = COARSE[_distances(frame, _coarse(scene)).argmin()]
    fine = coarse + np.arange(-6, 7, dtype=np.float32) / 2
    fine = fine[np.argsort(np.abs(fine - near))]
    return float(fine[_misfits(frame, scene, fine).argmin()])


@lru_cache(maxsize=KEPT)
def _coarse(scene: Scene) -> Frames:
    """The scene's one shot with its character at every coarse position."""
    return draw_at(scene, scene.shots[0], COARSE)


def _misfits(frame: Frames, scene: Scene, centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far a frame is from the scene's one shot, its character at each of `centres`."""
    return _distances(frame, draw_at(scene, scene.shots[0], centres))


def _distances(frame: Frames, drawings: Frames) -> NDArray[np.float32]:
    """How far a frame is from each of several drawings: mean absolute difference, no pixel counting beyond `CLIP`."""
    apart = np.abs(frame - drawings.astype(np.float32))
    return np.asarray(np.minimum(apart, CLIP).mean(axis=(1, 2, 3)), dtype=np.float32)
