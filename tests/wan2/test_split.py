"""Who computes what: every token once, every pass once, the work balanced."""

from __future__ import annotations

import random
from itertools import product

import pytest

from wan2.models.config import A14B
from wan2.plan.rates import rate_of_card
from wan2.plan.split import WASTE, Groups, balanced, of_pair, of_token, plan_split, wasted
from wan2.plan.traffic import exchanged, make_sharing
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.request.request import Request


def asked(gpus: int, how: str = "auto", **more: object) -> Request:
    return make_request(WAN22_T2V, {"prompt": "a gull", "gpus": gpus, "parallel": how, "num_frames": 241, **more})


def groups(request: Request, count: int, first: int = 0) -> Groups:
    """Even groups of latent frames, but for the first, which has some more of them."""
    frame, frames = request.shape.tokens_per_frame, request.shape.latent[1]
    edges = [0, *(first + (frames - first) * number // count for number in range(1, count)), frames]
    return Groups("parts", tuple((b - a) * frame for a, b in zip(edges, edges[1:], strict=False)), frame)


@pytest.mark.parametrize(("gpus", "how"), [*product((2, 4, 6), ("auto", "cfg+ulysses")), (3, "auto"), (5, "ulysses")])
def test_every_token_of_every_pass_has_one_card(gpus: int, how: str) -> None:
    request = asked(gpus, how)
    for known in (None, groups(request, 6)):
        split = plan_split(request, A14B, known) if known or "parts" not in how else None
        if split is None or (split.passes == 2 and gpus == 2):
            continue
        assert split.passes * split.ways == gpus
        spans = sorted(span for rows in split.rows for span in rows)
        assert spans[0][0] == 0 and spans[-1][1] == request.shape.tokens
        assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_two_cards_take_a_pass_each_unless_there_is_only_one() -> None:
    split = plan_split(asked(2), A14B)
    assert split is not None and (split.passes, split.ways) == (2, 1)
    split = plan_split(asked(2, guidance_scale=1.0), A14B)
    assert split is not None and (split.passes, split.ways, split.owners) == (1, 2, ())
    assert plan_split(asked(1), A14B) is None


def test_groups_are_shared_out_unless_too_much_waits() -> None:
    request = asked(4, guidance_scale=1.0)
    even, uneven = groups(request, 8), groups(request, 8, first=30)
    for known, by_groups in ((even, True), (uneven, False)):
        waits = wasted(known.costs(A14B), balanced(known.costs(A14B), 4))
        split = plan_split(request, A14B, known)
        assert split is not None and bool(split.owners) is by_groups is (waits <= WASTE)


def test_the_balance_is_near_the_best_there_is() -> None:
    random.seed(1)
    for _ in range(30):
        costs = [random.randint(1, 100) for _ in range(7)]
        for ways in (2, 3):
            best = min(
                max(sum(cost for cost, way in zip(costs, owner, strict=True) if way == one) for one in range(ways))
                for owner in product(range(ways), repeat=len(costs))
            )
            found = balanced(costs, ways)
            assert sorted(group for own in found for group in own) == list(range(7))
            assert max(sum(costs[group] for group in own) for own in found) <= 1.1 * best


def test_what_is_sent_is_what_the_formulas_say() -> None:
    """At 241 frames and six even groups in bfloat16: the keys and values of a block are 192 MB, the latents 24 MB."""
    request = asked(2, "parts", height=480, width=832)
    known = groups(request, 6)
    split = plan_split(request, A14B, known)
    assert split is not None
    tokens, whole = request.shape.tokens, 2 * 6 * 1560 * 5120 * 2
    assert round(whole / 1e6) == 192
    assert exchanged(split, A14B, known, tokens, 2) == whole // 2  # sent, and as much received: 2 (N-1)/N of it
    by_heads = plan_split(asked(4, "ulysses", height=480, width=832), A14B)
    assert by_heads is not None
    assert exchanged(by_heads, A14B, None, tokens, 2) == 4 * 3 * tokens * 5120 * 2 // 16
    by_pass = plan_split(asked(2, "cfg", height=480, width=832), A14B)
    assert by_pass is not None
    assert make_sharing(by_pass, A14B, None, tokens, 2, 2).sent == tokens * 64 * 4 == 24_360_960


@pytest.mark.parametrize(
    ("cards", "card", "link", "grouped", "least"),
    [(2, "RTX 4090", "PCIe 4", True, 1.85), (8, "H100", "NVLink", False, 6.5)],
)
def test_cards_gain_what_was_promised(cards: int, card: str, link: str, grouped: bool, least: float) -> None:
    request = asked(cards, height=480, width=832)
    known, tokens = groups(request, 6) if grouped else None, request.shape.tokens
    split = plan_split(request, A14B, known)
    assert split is not None
    pairs = sum(known.pairs) if known else tokens**2
    one = A14B.num_layers * (tokens * of_token(A14B) + pairs * of_pair(A14B))
    sharing = make_sharing(split, A14B, known, tokens, 2, 2)
    assert least <= sharing.speedup((2 * one, one), rate_of_card(card).tflops * 1e12, link) <= cards
