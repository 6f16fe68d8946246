"""The world that the miniature was trained on: small drawn films in which every fact is known. Knows no model.

A scene holds one or two characters (colour, shape) in one place, who wear the same hat; a shot of it shows one of them
and has framing, motion, light and the side the landmark stands on. Captions name everything but the hat and the side:
the hat is the same in every shot, so only attention across shots can keep it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from random import Random

import numpy as np
from numpy.typing import NDArray

SIZE = 64
"""Height and width of a frame in pixels."""

FloatArray = NDArray[np.floating]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "yellow": (245, 205, 40),
    "blue": (45, 80, 225),
    "purple": (150, 50, 190),
}
HATS: dict[str, tuple[int, int, int]] = {
    "black": (20, 20, 20),
    "green": (30, 190, 60),
    "orange": (250, 135, 20),
    "pink": (250, 130, 190),
    "cyan": (40, 210, 220),
}
SHAPES = ("circle", "square", "triangle")
FRAMINGS = ("wide", "close")
MOTIONS = ("left", "right", "still")
LIGHTS = ("day", "night")
SIDES = ("left", "right")
TOP_SPEED = 2.0
"""Pixels a frame."""


@dataclass(frozen=True)
class Place:
    """Colours (RGB 0-255) of a background and its landmark."""

    sky: tuple[int, int, int]
    ground: tuple[int, int, int]
    landmark: tuple[int, int, int]
    outline: str


PLACES: dict[str, Place] = {
    "meadow": Place((140, 200, 245), (95, 165, 70), (35, 105, 45), "tree"),
    "desert": Place((250, 225, 180), (225, 170, 95), (170, 105, 60), "pyramid"),
    "snow": Place((195, 215, 235), (235, 240, 248), (95, 130, 150), "peak"),
    "city": Place((205, 200, 205), (125, 125, 130), (85, 75, 90), "tower"),
}


@dataclass(frozen=True)
class Shot:
    """One shot: half-open frame range and what the camera sees."""

    start: int
    end: int
    framing: str
    motion: str
    light: str
    side: str
    who: int = 0
    """Which of the scene's characters is seen."""


@dataclass(frozen=True)
class Character:
    """Who is seen, as captions name it."""

    colour: str
    shape: str


@dataclass(frozen=True)
class Scene:
    """What stays the same across the cuts, and the shots in order."""

    place: str
    hat: str
    characters: tuple[Character, ...]
    shots: tuple[Shot, ...]

    @property
    def num_frames(self) -> int:
        """Pixel frames in the whole video."""
        return self.shots[-1].end

    @property
    def cuts(self) -> list[int]:
        """First frame of every shot but the first."""
        return [shot.start for shot in self.shots[1:]]


def random_scene(rng: Random, num_frames: int, cuts: list[int]) -> Scene:
    """Draw a scene whose shots begin at frame 0 and at `cuts`.

    Neighbouring shots differ in framing or light, and are never both at night, where a change of framing hardly shows.
    The two characters of a scene differ in colour; each of them is seen.
    """
    bounds = [0, *cuts, num_frames]
    count = rng.choice((1, 2)) if cuts else 1
    # A hat is drawn for everyone, and the first is worn: what a seed draws must stay what the shipped text encoder saw.
    colours, (hat, *_) = rng.sample(list(COLOURS), count), rng.sample(list(HATS), count)
    characters = tuple(Character(colour, rng.choice(SHAPES)) for colour in colours)
    order = rng.sample(range(count), count)
    shots: list[Shot] = []
    for start, end in zip(bounds, bounds[1:], strict=False):
        views = [view for view in product(FRAMINGS, LIGHTS) if not shots or may_follow(shots[-1], *view)]
        framing, light = rng.choice(views)
        who = order[len(shots)] if len(shots) < count else rng.randrange(count)
        shots.append(Shot(start, end, framing, rng.choice(MOTIONS), light, rng.choice(SIDES), who))
    return Scene(rng.choice(list(PLACES)), hat, characters, tuple(shots))


def may_follow(shot: Shot, framing: str, light: str) -> bool:
    """Whether a shot with this framing and light may come after `shot`: the cut between them can be seen."""
    return light != shot.light or (light == "day" and framing != shot.framing)


def random_cuts(rng: Random, num_frames: int, num_shots: int, shortest: int = 8) -> list[int]:
    """Cut frames on the 4t+1 grid, no shot shorter than `shortest` frames, every such list as likely as any other.

    Raises:
        ValueError: the shots do not fit.
    """
    # Latent frames beyond the least that every shot needs, spread over the shots; the first shot has one frame less.
    least = [math.ceil((shortest - 1) / 4) + 1, *[math.ceil(shortest / 4)] * (num_shots - 1)]
    spare = (num_frames - 1) // 4 + 1 - sum(least)
    if spare < 0:
        raise ValueError(f"{num_shots} shots of {shortest} frames or more do not fit {num_frames} frames")
    bars = sorted(rng.sample(range(spare + num_shots - 1), num_shots - 1))
    extra = [bar - i for i, bar in enumerate(bars)]
    return [4 * (sum(least[: i + 1]) + extra[i]) - 3 for i in range(num_shots - 1)]


def draw(scene: Scene) -> NDArray[np.uint8]:
    """Draw every frame: uint8 [frames, SIZE, SIZE, 3]."""
    return np.concatenate([draw_frames(scene, shot, range(shot.end - shot.start)) for shot in scene.shots])


def radius_of(framing: str) -> float:
    """Half the width of the character's body in pixels."""
    return 15.0 if framing == "close" else 7.0


def path_of(shot: Shot) -> FloatArray:
    """Horizontal position of the character in every frame of the shot, in pixels.

    It stands in the middle, or walks from one edge towards the other, slower where room is short.
    """
    count, radius = shot.end - shot.start, radius_of(shot.framing)
    if shot.motion == "still":
        return np.full(count, SIZE / 2, np.float32)
    room = SIZE - 2 * (radius + 3)
    travelled = np.arange(count, dtype=np.float32) * min(TOP_SPEED, room / count)
    return radius + 3 + (travelled if shot.motion == "right" else room - travelled)


def draw_frames(scene: Scene, shot: Shot, frames: range) -> NDArray[np.uint8]:
    """Draw the given `frames` of one shot, counted from its start: uint8 [len(frames), SIZE, SIZE, 3]."""
    if shot.motion == "still":
        return np.repeat(draw_at(scene, shot, path_of(shot)[:1]), len(frames), axis=0)
    return draw_at(scene, shot, path_of(shot)[frames.start : frames.stop])


def draw_at(scene: Scene, shot: Shot, centres: FloatArray) -> NDArray[np.uint8]:
    """Draw what `shot` sees, once for every position of the character in pixels: uint8 [positions, SIZE, SIZE, 3]."""
    place, radius, character = PLACES[scene.place], radius_of(shot.framing), scene.characters[shot.who]
    grid = np.arange(SIZE, dtype=np.float32) + 0.5
    y, x = grid[None, :, None], grid[None, None, :]
    x = x if shot.side == "left" else SIZE - x
    horizon = 38.0 if shot.framing == "wide" else 46.0
    night = shot.light == "night"
    shade = np.array([0.22, 0.25, 0.42] if night else [1.0, 1.0, 1.0], np.float32)
    image = np.zeros((1, SIZE, SIZE, 3), np.float32) + np.array(place.sky, np.float32) * shade
    scale = 1.0 if shot.framing == "wide" else 1.7
    image = _paint(image, _landmark(place.outline, x - 15.0, y - horizon, scale), np.array(place.landmark) * shade)
    image = _paint(image, horizon - y + 0 * x, np.array(place.ground) * shade)
    lamp = np.array([235, 235, 250] if night else [255, 245, 120], np.float32)
    image = _paint(image, np.hypot(x - 51.0, y - 10.0) - 5.0, lamp)
    x = grid[None, None, :] - centres[:, None, None]
    foot = horizon + (10.0 if shot.framing == "wide" else 14.0)
    y = y - (foot - radius)
    image = np.repeat(image, len(centres), axis=0)
    glow = 0.8 if night else 1.0
    image = _paint(image, _body(character.shape, x, y, radius), np.array(COLOURS[character.colour]) * glow)
    image = _paint(image, _hat(x, y + radius, radius), np.array(HATS[scene.hat]) * glow)
    for side in (-1.0, 1.0):
        eye = np.hypot(x - side * 0.35 * radius, y - 0.15 * radius) - 0.16 * radius
        image = _paint(image, eye, np.array([10.0, 10.0, 10.0]))
    return np.asarray(np.clip(image + 0.5, 0, 255), dtype=np.uint8)


def _paint(image: FloatArray, distance: FloatArray, colour: NDArray[np.floating]) -> FloatArray:
    """Lay `colour` where the signed `distance` in pixels is negative, one pixel of soft edge; writes into `image`."""
    cover = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
    image += cover * (colour.astype(np.float32) - image)
    return image


def _box(x: FloatArray, y: FloatArray, half_width: float, half_height: float) -> FloatArray:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _triangle(x: FloatArray, y: FloatArray, half_width: float, height: float) -> FloatArray:
    """Apex at y = -height, base at y = 0."""
    length = float(np.hypot(half_width, height))
    slope = (np.abs(x) * height + (y + height) * -half_width) / length
    return np.maximum(slope, y)


def _body(shape: str, x: FloatArray, y: FloatArray, radius: float) -> FloatArray:
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "square":
        return _box(x, y, 0.9 * radius, radius)
    return _triangle(x, y - radius, 1.15 * radius, 2.2 * radius)


def _hat(x: FloatArray, y: FloatArray, radius: float) -> FloatArray:
    """A top hat whose brim lies at y = 0: wide brim, tall crown."""
    brim = _box(x, y, 0.95 * radius, 0.16 * radius)
    crown = _box(x, y + 0.45 * radius, 0.62 * radius, 0.45 * radius)
    return np.minimum(brim, crown)


def _landmark(outline: str, x: FloatArray, y: FloatArray, scale: float) -> FloatArray:
    x, y = x / scale, y / scale
    if outline == "tree":
        shape = np.minimum(np.hypot(x, y + 14.0) - 8.0, _box(x, y + 4.0, 1.8, 6.0))
    elif outline == "pyramid":
        shape = _triangle(x, y, 14.0, 16.0)
    elif outline == "peak":
        shape = np.minimum(_triangle(x + 4, y, 9.0, 20.0), _triangle(x - 6, y, 8.0, 13.0))
    else:
        shape = np.minimum(_box(x + 4, y + 9.0, 4.0, 11.0), _box(x - 5, y + 5.0, 4.0, 7.0))
    return shape * scale
