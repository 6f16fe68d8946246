"""Facts of nano's drawn world: told by captions, read off pixels, and held against each other exactly.

The wordings and the reader are the world's own, in `tools/nano`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from random import Random
from statistics import fmean
from typing import Any

from holocine_ext.evaluate.clip import Frames
from holocine_ext.layout import Range
from tools.nano import captions as words
from tools.nano.read import ShotReading, read_shot
from tools.nano.world import SIZE, draw, random_scene
from wan2.errors import InputError

Facts = dict[str, str]
Wordings = Mapping[str, Sequence[str]]

SCENE_FACTS: dict[str, Wordings] = {"place": words.PLACES, "colour": words.COLOURS, "shape": words.SHAPES}
SHOT_FACTS: dict[str, Wordings] = {"framing": words.FRAMINGS, "motion": words.MOTIONS, "light": words.LIGHTS}
WHO = ("shape", "colour", "hat")
"""What makes a character the same across shots; the hat is never named."""
SEEN = ("place", "light", "side", "framing", *WHO)
"""What one still picture shows."""
LEAST = 3
"""Frames that the reader needs."""


@dataclass(frozen=True)
class ShotFacts:
    """One shot: what its captions told, and what its first, middle and last frames show."""

    told: Facts
    seen: Facts
    first: Facts
    last: Facts


def told_facts(global_caption: str, captions: Sequence[str]) -> list[Facts]:
    """What the captions tell of every shot, by their words. A fact they leave open, or tell in two ways, is absent."""
    facts = []
    for caption in captions:
        both = f"{global_caption}\n{caption}"
        told = {fact: _told(both, wordings) for fact, wordings in SCENE_FACTS.items()}
        told |= {fact: _told(caption, wordings) for fact, wordings in SHOT_FACTS.items()}
        facts.append({fact: next(iter(values)) for fact, values in told.items() if len(values) == 1})
    return facts


def _told(text: str, wordings: Wordings) -> set[str]:
    """The values whose wordings occur in the text as whole words; of wordings inside each other the longest counts."""
    value_of = {wording: value for value, several in wordings.items() for wording in several}
    longest_first = "|".join(map(re.escape, sorted(value_of, key=len, reverse=True)))
    return {value_of[match] for match in re.findall(rf"(?<![\w-])(?:{longest_first})(?![\w-])", text.lower())}


def read_facts(frames: Frames, shots: Sequence[Range], told: Sequence[Facts]) -> list[ShotFacts]:
    """Read every shot of a film, uint8 [T, 64, 64, 3], at its half-open range of frames.

    Raises:
        InputError: frames of another size than nano's.
    """
    if frames.shape[1:3] != (SIZE, SIZE):
        raise InputError(
            f"{frames.shape[1]}x{frames.shape[2]}: facts are read off nano's frames, which are {SIZE}x{SIZE}"
        )
    read = []
    for (start, end), facts in zip(shots, told, strict=True):
        shot = frames[start:end]
        shot = shot if len(shot) >= LEAST else shot.repeat(LEAST, axis=0)
        first, last = read_shot(shot[:LEAST]), read_shot(shot[-LEAST:])
        read.append(ShotFacts(facts, _facts(read_shot(shot)), _facts(first), _facts(last)))
    return read


def _facts(reading: ShotReading) -> Facts:
    return {fact: value for fact, value in asdict(reading).items() if isinstance(value, str)}


def drawing(told: Sequence[Facts], cuts: Sequence[int], num_frames: int, seed: int) -> Frames:
    """The world's own film of what was told, uint8 [T, 64, 64, 3]: what a perfect model would make of the captions.

    What they leave open is drawn at random from `seed`.
    """
    scene = random_scene(Random(seed), num_frames, list(cuts))
    shots = tuple(replace(shot, **_of(SHOT_FACTS, facts)) for shot, facts in zip(scene.shots, told, strict=True))
    return draw(replace(scene, shots=shots, **_of(SCENE_FACTS, told[0])))


def _of(kinds: Mapping[str, Wordings], facts: Facts) -> dict[str, Any]:
    return {fact: facts[fact] for fact in kinds if fact in facts}


def measure(shots: Sequence[ShotFacts]) -> dict[str, float | None]:
    """Shares of agreement, 0 to 1; None where there is nothing to agree."""
    pairs = list(combinations([shot.seen for shot in shots], 2))
    return {
        "caption": _mean([_agreement(shot.told, shot.seen, tuple(shot.told)) for shot in shots if shot.told]),
        "inter_shot": _mean([_agreement(a, b, WHO) for a, b in pairs]),
        "unnamed": _mean([_agreement(a, b, ("hat",)) for a, b in pairs]),
        "intra_first": _mean([_agreement(s.first, other, SEEN) for s in shots for other in (s.seen, s.last)]),
        "intra_frames": _mean(
            [_agreement(a, b, SEEN) for s in shots for a, b in ((s.first, s.seen), (s.seen, s.last))]
        ),
    }


def _agreement(a: Facts, b: Facts, facts: Sequence[str]) -> float:
    return fmean(a[fact] == b[fact] for fact in facts)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
