"""Facts of nano's drawn world: found in captions, read from pixels, and compared exactly.

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
"""What makes a character the same in two shots; captions never name the hat."""
SEEN = ("place", "light", "side", "framing", *WHO)
"""What one still picture shows."""
LEAST = 3
"""Fewest frames that the reader needs."""


@dataclass(frozen=True)
class ShotFacts:
    """One shot: the facts in its captions, and what the whole shot, its first and its last frames show."""

    asked: Facts
    seen: Facts
    first: Facts
    last: Facts


def caption_facts(global_caption: str, captions: Sequence[str]) -> list[Facts]:
    """The facts of every shot in its captions. A fact that they do not name, or name with two values, is absent.

    Who is seen comes from the shot's own words ("the red ball"), else from what the global caption says of the
    `[character<n>]` in the shot's caption, else from the whole global caption.
    """
    facts = []
    for caption in captions:
        sources = (caption, *_descriptions(global_caption, caption), global_caption)
        asked = {fact: _named(f"{global_caption}\n{caption}", wordings) for fact, wordings in SCENE_FACTS.items()}
        asked |= {fact: _named(caption, wordings) for fact, wordings in SHOT_FACTS.items()}
        for fact, wordings in CHARACTER_FACTS.items():
            asked[fact] = next(filter(None, (_named(text, wordings) for text in sources)), set())
        facts.append({fact: next(iter(values)) for fact, values in asked.items() if len(values) == 1})
    return facts


def _descriptions(global_caption: str, caption: str) -> list[str]:
    """What the global caption says of each character in a shot's caption: from its tag to the next tag or full stop."""
    called = set(_TAG.findall(caption))
    return [_SENTENCE.split(text)[0] for tag, text in _tagged(global_caption) if tag in called]


def _tagged(text: str) -> list[tuple[str, str]]:
    """Every tag in a text and what follows it, up to the next."""
    pieces = _TAG.split(text)
    return list(zip(pieces[1::2], pieces[2::2], strict=True))


def _named(text: str, wordings: Wordings) -> set[str]:
    """The values whose wordings occur in the text as whole words. Where two wordings overlap, the longer one counts."""
    value_of = {wording: value for value, several in wordings.items() for wording in several}
    longest_first = "|".join(map(re.escape, sorted(value_of, key=len, reverse=True)))
    return {value_of[match] for match in re.findall(rf"(?<![\w-])(?:{longest_first})(?![\w-])", text.lower())}


def read_facts(frames: Frames, shots: Sequence[Range], asked: Sequence[Facts]) -> list[ShotFacts]:
    """Read every shot of a film, uint8 [T, 64, 64, 3], at its half-open range of frames.

    Raises:
        InputError: the frames have another size than those of nano.
    """
    if frames.shape[1:3] != (SIZE, SIZE):
        raise InputError(
            f"{frames.shape[1]}x{frames.shape[2]}: facts can be read only from frames of nano, which are {SIZE}x{SIZE}"
        )
    read = []
    for (start, end), facts in zip(shots, asked, strict=True):
        shot = frames[start:end]
        shot = shot if len(shot) >= LEAST else shot.repeat(LEAST, axis=0)
        first, last = read_shot(shot[:LEAST]), read_shot(shot[-LEAST:])
        read.append(ShotFacts(facts, _facts(read_shot(shot)), _facts(first), _facts(last)))
    return read


def _facts(reading: ShotReading) -> Facts:
    return {fact: value for fact, value in asdict(reading).items() if isinstance(value, str)}


def drawing(asked: Sequence[Facts], cuts: Sequence[int], num_frames: int, seed: int) -> Frames:
    """A drawing of the facts, uint8 [T, 64, 64, 3]: what a perfect model would make of the captions.

    Facts that the captions do not name are chosen at random from `seed`.
    """
    rng = Random(seed)
    scene = random_scene(rng, num_frames, list(cuts))
    cast = list(dict.fromkeys(_identity(facts) for facts in asked))
    characters = tuple(
        Character(colour or rng.choice(list(COLOURS)), shape or rng.choice(SHAPES)) for colour, shape in cast
    )
    shots = tuple(
        replace(shot, **_of(SHOT_FACTS, facts), who=cast.index(_identity(facts)))
        for shot, facts in zip(scene.shots, asked, strict=True)
    )
    return draw(replace(scene, shots=shots, characters=characters, **_of(SCENE_FACTS, asked[0])))


def _identity(facts: Facts) -> tuple[str | None, str | None]:
    """Colour and shape, by which characters are distinguished."""
    return facts.get("colour"), facts.get("shape")


def _of(kinds: Mapping[str, Wordings], facts: Facts) -> dict[str, Any]:
    return {fact: facts[fact] for fact in kinds if fact in facts}


def measure(shots: Sequence[ShotFacts]) -> dict[str, float | None]:
    """Shares of agreement, 0 to 1; None where there is nothing to compare.

    Characters are compared between shots that should show the same one, hats between all shots.
    """
    pairs = list(combinations(shots, 2))
    same = [(a.seen, b.seen) for a, b in pairs if _identity(a.asked) == _identity(b.asked)]
    return {
        "caption": _mean([_agreement(shot.asked, shot.seen, tuple(shot.asked)) for shot in shots if shot.asked]),
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
