"""Shot Cut Accuracy against hand-checked values, and against every matching tried out."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, permutations
from random import Random

import pytest

from holocine_ext.evaluate.cuts import score_cuts
from holocine_ext.shots.layout import auto_cuts

FIVE = (49, 97, 145, 193)
KINDS = ("exact", "none", "early", "late", "missed", "extra", "merged", "anything")


def least_error(asked: tuple[int, ...], found: tuple[int, ...], num_frames: int) -> Fraction:
    """The least total error over every one-to-one matching, crossing ones too, however many pairs it has."""
    penalty = Fraction(num_frames, len(asked) + 1)
    errors = []
    for pairs in range(min(len(asked), len(found)) + 1):
        for some in combinations(asked, pairs):
            for partners in permutations(found, pairs):
                apart = sum(abs(a - b) for a, b in zip(some, partners, strict=True))
                errors.append(apart + penalty * (len(asked) + len(found) - 2 * pairs))
    return min(errors)


def synthetic(seed: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Asked cuts, cuts as a model may have made them, and the frames of the video."""
    rng = Random(seed)
    num_frames = 4 * rng.randint(8, 60) + 1
    asked = auto_cuts(num_frames, rng.randint(2, 5))
    found, kind = list(asked), KINDS[seed % len(KINDS)]
    if kind == "none":
        found = []
    elif kind in ("early", "late"):
        shift = rng.randint(1, 9) * (1 if kind == "late" else -1)
        found = [max(1, min(num_frames - 1, cut + shift)) for cut in found]
    elif kind == "missed":
        found.pop(rng.randrange(len(found)))
    elif kind == "extra":
        found.append(rng.randrange(1, num_frames))
    elif kind == "merged" and len(found) > 1:
        found[:2] = [sum(found[:2]) // 2]
    elif kind == "anything":
        found = rng.sample(range(1, num_frames), rng.randint(0, 5))
    return asked, tuple(found), num_frames


@pytest.mark.parametrize("kind", KINDS)
def test_no_matching_has_less_error(kind: str):
    for seed in range(KINDS.index(kind), 200, len(KINDS)):
        asked, found, num_frames = synthetic(seed)
        score = score_cuts(asked, found, num_frames)
        expected = least_error(asked, found, num_frames)
        assert score.sca == pytest.approx(math.exp(-expected / num_frames), abs=1e-12)
        assert score.matched_error + score.penalty_error == pytest.approx(float(expected))
        assert sorted([a for a, _ in score.pairs] + list(score.missed)) == sorted(asked)
        assert sorted([b for _, b in score.pairs] + list(score.extra)) == sorted(found)


@pytest.mark.parametrize(
    ("found", "matched", "penalties", "sca"),
    [
        (FIVE, 0, 0, 1.0),
        ((), 0, 4, math.exp(-4 / 5)),
        ((47, 95, 143, 191), 8, 0, math.exp(-8 / 241)),
        ((49, 97, 193), 0, 1, math.exp(-1 / 5)),
        ((49, 97, 145, 193, 217), 0, 1, math.exp(-1 / 5)),
        ((73, 145, 193), 24, 1, math.exp(-(24 + 241 / 5) / 241)),
        ((97, 145, 193, 230), 0, 2, math.exp(-2 / 5)),  # less than the 181 frames of moving all four
    ],
    ids=["exact", "none", "early", "missed", "extra", "merged", "missed and extra"],
)
def test_checked_by_hand(found: tuple[int, ...], matched: int, penalties: int, sca: float):
    score = score_cuts(FIVE, found, 241)
    assert (score.matched_error, score.penalty_error) == (matched, pytest.approx(penalties * 241 / 5))
    assert score.sca == pytest.approx(sca)
    assert score.right_count == (len(found) == 4)


def test_a_single_shot():
    assert score_cuts((), (), 33).sca == 1.0
    assert score_cuts((), (9,), 33).sca == pytest.approx(math.exp(-1))


def test_order_does_not_matter():
    assert score_cuts(FIVE[::-1], (193, 49, 97, 145), 241).sca == 1.0
