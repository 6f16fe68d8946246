"""Facts of nano's drawn world: told by captions, read off pixels, and held against each other exactly.

The wordings (`captions`) and the reader (`read`) belong to the world itself.
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
from holocine_ext.evaluate.nano_world import captions as words
from holocine_ext.evaluate.nano_world.read import ShotReading, read_shot
from holocine_ext.evaluate.nano_world.world import COLOURS, SHAPES, SIZE, Character, draw, random_scene
from holocine_ext.shots.layout import Range
from wan2.errors import InputError

_TAG = re.compile(r"(\[character\d+\])")
_SENTENCE = re.compile(r"[.!?]")

Facts = dict[str, str]
Wordings = Mapping[str, Sequence[str]]

SCENE_FACTS: dict[str, Wordings] = {"place": words.PLACES}
CHARACTER_FACTS: dict[str, Wordings] = {"colour": words.COLOURS, "shape": words.SHAPES}
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
    """What the captions tell of every shot, by their words. A fact they leave open, or tell in two ways, is absent.

    Who is seen is told by the shot's own words ("the red ball"), else by what the global caption says of the one
    `[character<n>]` that it calls, else by the whole global caption.
    """
    facts = []
    for caption in captions:
        sources = (caption, *_descriptions(global_caption, caption), global_caption)
        told = {fact: _told(f"{global_caption}\n{caption}", wordings) for fact, wordings in SCENE_FACTS.items()}
        told |= {fact: _told(caption, wordings) for fact, wordings in SHOT_FACTS.items()}
        for fact, wordings in CHARACTER_FACTS.items():
            told[fact] = next(filter(None, (_told(text, wordings) for text in sources)), set())
        facts.append({fact: next(iter(values)) for fact, values in told.items() if len(values) == 1})
    return facts


def _descriptions(global_caption: str, caption: str) -> list[str]:
    """What the global caption says of every character that a shot's caption calls: from tag to tag or full stop."""
    called = set(_TAG.findall(caption))
    return [_SENTENCE.split(text)[0] for tag, text in _tagged(global_caption) if tag in called]


def _tagged(text: str) -> list[tuple[str, str]]:
    """Every tag in a text and what follows it, up to the next."""
    pieces = _TAG.split(text)
    return list(zip(pieces[1::2], pieces[2::2], strict=True))


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
    rng = Random(seed)
    scene = random_scene(rng, num_frames, list(cuts))
    cast = list(dict.fromkeys(_identity(facts) for facts in told))
    characters = tuple(
        Character(colour or rng.choice(list(COLOURS)), shape or rng.choice(SHAPES)) for colour, shape in cast
    )
    shots = tuple(
        replace(shot, **_of(SHOT_FACTS, facts), who=cast.index(_identity(facts)))
        for shot, facts in zip(scene.shots, told, strict=True)
    )
    return draw(replace(scene, shots=shots, characters=characters, **_of(SCENE_FACTS, told[0])))


def _identity(facts: Facts) -> tuple[str | None, str | None]:
    """What tells one character from another."""
    return facts.get("colour"), facts.get("shape")


def _of(kinds: Mapping[str, Wordings], facts: Facts) -> dict[str, Any]:
    return {fact: facts[fact] for fact in kinds if fact in facts}


def measure(shots: Sequence[ShotFacts]) -> dict[str, float | None]:
    """Shares of agreement, 0 to 1; None where there is nothing to agree.

    Characters are held against each other in those shots that should show the same one; a hat in all.
    """
    pairs = list(combinations(shots, 2))
    same = [(a.seen, b.seen) for a, b in pairs if _identity(a.told) == _identity(b.told)]
    return {
        "caption": _mean([_agreement(shot.told, shot.seen, tuple(shot.told)) for shot in shots if shot.told]),
        "inter_shot": _mean([_agreement(a, b, WHO) for a, b in same]),
        "unnamed": _mean([_agreement(a.seen, b.seen, ("hat",)) for a, b in pairs]),
        "intra_first": _mean([_agreement(s.first, other, SEEN) for s in shots for other in (s.seen, s.last)]),
        "intra_frames": _mean(
            [_agreement(a, b, SEEN) for s in shots for a, b in ((s.first, s.seen), (s.seen, s.last))]
        ),
    }


def _agreement(a: Facts, b: Facts, facts: Sequence[str]) -> float:
    return fmean(a[fact] == b[fact] for fact in facts)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
