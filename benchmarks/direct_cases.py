"""The scenes of `benchmarks.direct`: a take, and what is made beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from holocine_ext.evaluate.nano_world.captions import Captions, describe
from holocine_ext.evaluate.nano_world.world import (
    HATS,
    LIGHTS,
    SIZE,
    Scene,
    Shot,
    draw_at,
    random_cuts,
    random_scene,
)

SEED = 40_000_000
SHOTS, FRAMES, LONGER_FRAMES, NEW_FRAMES = 3, 33, 57, 12
WINDOW_SHOTS = 12


@dataclass(frozen=True)
class Case:
    """A scene, its words, and which of its shots (from 0) are made beside the others; `strength`: in part.

    drawn: a shot of the cast, drawn, and its caption.
    """

    scene: Scene
    words: Captions
    made: tuple[int, ...]
    strength: float | None = None
    drawn: tuple[Shot, str] | None = None

    def picture(self) -> Image.Image:
        """What is drawn of the cast."""
        assert self.drawn is not None
        (frame,) = draw_at(self.scene, self.drawn[0], np.array([SIZE / 2], np.float32))
        return Image.fromarray(frame)

    def board(self, number: int, take: Path) -> dict[str, Any]:
        """Its storyboard; shots that are not made come from the take."""
        shots: list[dict[str, Any]] = []
        for place, (shot, caption) in enumerate(zip(self.scene.shots, self.words.shots, strict=True)):
            if place not in self.made:
                shots.append({"from": f"{take}#{place + 1}"})
            elif self.strength is not None:
                shots.append({"from": f"{take}#{place + 1}", "strength": self.strength, "caption": caption})
            else:
                shots.append({"caption": caption, "frames": shot.end - shot.start})
        anew = len(self.made) < len(self.scene.shots)
        told: dict[str, Any] = {"global_caption": self.words.global_caption, "fps": 8, "shots": shots}
        if self.drawn is not None:
            told["cast"] = [{"image": f"{number:03d}.png", "caption": self.drawn[1]}]
        return told | {"seed": number + SEED * (anew + 2 * (self.drawn is not None))}


def take(number: int) -> Case:
    """A scene of three shots that no training used."""
    rng = Random(SEED + number)
    scene = random_scene(rng, FRAMES, random_cuts(rng, FRAMES, SHOTS))
    return Case(scene, describe(Random(SEED + number), scene), made=tuple(range(SHOTS)))


def reshoot(case: Case, number: int) -> Case:
    """One shot of a take is made anew."""
    return replace(case, made=(number % SHOTS,))


def edit(case: Case, number: int, strength: float) -> Case:
    """One shot of a take is made anew in part, at night in the place of by day, or the reverse."""
    made = number % SHOTS
    old = case.scene.shots[made]
    shot = replace(old, light="day" if old.light == "night" else "night")
    scene = replace(case.scene, shots=_with(case.scene.shots, made, shot))
    told = describe(Random(SEED + number), scene).shots[made]
    return Case(scene, replace(case.words, shots=_with(case.words.shots, made, told)), (made,), strength)


def _with(items: tuple[Any, ...], place: int, item: object) -> tuple[Any, ...]:
    return (*items[:place], item, *items[place + 1 :])


def longer(case: Case, number: int) -> Case:
    """Two shots follow, of the same characters in the same place."""
    rng, shots = Random(SEED + number), list(case.scene.shots)
    for start in range(FRAMES, LONGER_FRAMES, NEW_FRAMES):
        other = random_scene(rng, NEW_FRAMES, []).shots[0]
        light = "day" if shots[-1].light == "night" else "night"
        shots.append(replace(other, start=start, end=start + NEW_FRAMES, light=light, who=shots[0].who))
    scene = replace(case.scene, shots=tuple(shots))
    told = describe(Random(SEED + number), scene).shots[SHOTS:]  # the same draws, so the same form of caption
    return Case(scene, replace(case.words, shots=(*case.words.shots, *told)), tuple(range(SHOTS, len(shots))))


def cast(case: Case, number: int) -> Case:
    """The same scene with another hat, beside a drawing of a character who wears it."""
    rng = Random(SEED + number)
    hat = rng.choice([hat for hat in HATS if hat != case.scene.hat])
    drawn = Shot(0, FRAMES, "close", "still", rng.choice(tuple(LIGHTS)), case.scene.shots[0].side)
    scene = replace(case.scene, hat=hat, shots=(*case.scene.shots, drawn))
    words = describe(Random(SEED + number), scene)
    shown = replace(scene, shots=case.scene.shots)
    return Case(shown, replace(words, shots=words.shots[:SHOTS]), case.made, drawn=(drawn, words.shots[SHOTS]))


def windows(case: Case, number: int) -> Case:
    """Twelve shots of the characters of a scene, which are made in three windows."""
    rng, shots = Random(SEED + number), list[Shot]()
    for place in range(WINDOW_SHOTS):
        start = place * NEW_FRAMES + bool(place)
        other = random_scene(rng, NEW_FRAMES, []).shots[0]
        shot = replace(other, start=start, end=1 + (place + 1) * NEW_FRAMES, light="night" if place % 2 else "day")
        shots.append(replace(shot, who=rng.randrange(len(case.scene.characters))))
    scene = replace(case.scene, shots=tuple(shots))
    return Case(scene, describe(Random(SEED + number), scene), tuple(range(WINDOW_SHOTS)))


MODES: dict[str, Callable[[Case, int], Case]] = {
    "takes": lambda case, _: case,
    "reshoot": reshoot,
    "edit 0.6": lambda case, number: edit(case, number, 0.6),
    "edit 0.8": lambda case, number: edit(case, number, 0.8),
    "longer": longer,
    "cast": cast,
    "windows": windows,
}
"""What is made beside a take, by name."""
