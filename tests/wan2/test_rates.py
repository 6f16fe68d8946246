"""Rates of cards: any spelling of a known name, refusals, and times near a count of operations and bytes."""

from __future__ import annotations

import pytest

from holocine_ext.shots.flops import attention_pairs, forward_flops
from holocine_ext.shots.layout import plan_layout
from tests.refused import refused
from wan2.models.config import A14B
from wan2.plan.rates import CARDS, given_rate, rate_of_card
from wan2.text.tokenizer import TEXT_LENGTH

PASSES = 2
# Seconds of a guided step of 241 frames at 480x832 with six shots, sparse and full, without compiling: from operations
# and from the bytes that every kernel moves, at rates that others report as kept up. Counted, not measured.
COUNTED = {"H200": (15.9, 33.9), "H100": (17.7, 37.0), "RTX 4090": (66, None), "RTX 3060": (377, None)}


@pytest.mark.parametrize("card", COUNTED)
def test_times_are_near_the_count(card: str) -> None:
    layout, rate = plan_layout(241, 6, None, 1560), rate_of_card(card)
    for sparse, seconds in zip((True, False), COUNTED[card], strict=True):
        if seconds is not None:
            pairs = attention_pairs(layout, sparse), layout.tokens * TEXT_LENGTH
            flops = PASSES * forward_flops(A14B, *pairs, layout.tokens, TEXT_LENGTH)
            assert flops / rate.tflops / 1e12 == pytest.approx(seconds, rel=0.15)


@pytest.mark.parametrize(
    ("spelling", "card"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("rtx4070ti", "RTX 4070 Ti"),
        ("H100-SXM", "H100"),
        ("m4 max", "Apple M4 Max"),
    ],
)
def test_names_may_be_spelled_in_any_way(spelling: str, card: str) -> None:
    rate = rate_of_card(spelling)
    assert rate == rate_of_card(card)
    assert rate.tflops == CARDS[card].peak * CARDS[card].share
    assert rate.source.startswith(f"{card}: ")


@pytest.mark.parametrize("name", ["", "rtx", "nvidia", "voodoo", "RTX 409"])
def test_an_unknown_card_is_refused_with_those_that_are_known(name: str) -> None:
    with refused(rf"^--card ?{name}: is not in the table; --tflops gives a rate. Known are H200, .*RTX 4090"):
        rate_of_card(name)


def test_a_rate_may_be_given() -> None:
    assert given_rate(400).tflops == 400
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with refused("--tflops .*: must be a finite number above 0"):
            given_rate(wrong)
