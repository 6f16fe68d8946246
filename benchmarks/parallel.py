"""What several cards would gain: `python -m benchmarks.parallel`. Simulated: nothing here ran on a card.

Operations and bytes are counted, the rates of cards and links are published ones, of which a share is assumed
(`wan2/plan/rates.py`, `wan2/plan/traffic.py`). Nothing is taken to overlap. The scene is six even shots of 241 frames
at 480x832.
"""

from __future__ import annotations

import sys

from holocine_ext.forecast import Forecast
from holocine_ext.plan import look_ahead
from holocine_ext.presets import MODELS
from holocine_ext.request import scene_request
from holocine_ext.story.storyboard import Storyboard
from wan2.plan.files import Files
from wan2.plan.rates import rate_of_card

SHOTS = 6
CASES = [
    ("RTX 3090", "PCIe 4", 2, ("cfg", "shots", "ulysses")),
    ("RTX 4090", "PCIe 4", 2, ("cfg", "shots", "ulysses")),
    ("RTX 4090", "PCIe 4", 4, ("cfg+shots", "cfg+ulysses", "ulysses")),
    ("RTX 5090", "PCIe 5", 2, ("cfg", "shots", "ulysses")),
    ("H100", "NVLink", 4, ("cfg+shots", "cfg+ulysses", "ulysses")),
    ("H100", "NVLink", 8, ("cfg+shots", "cfg+ulysses", "ulysses")),
]
ROW = "{:9}{:8}{:>6}  {:12}{:8}{:>15}{:>15}{:>9}{:>12}\n"


def forecast(card: str, cards: int, how: str, variant: str) -> Forecast:
    """The plan of the scene, shared so."""
    board = Storyboard.of("A house by the sea.", [f"View {number + 1}." for number in range(SHOTS)])
    asked = scene_request(board, MODELS["holocine"][variant], {"gpus": cards, "parallel": how, "seed": 1})
    return look_ahead(asked, Files(), rate=rate_of_card(card))


def row(card: str, link: str, cards: int, how: str, variant: str) -> str:
    """A line of the table."""
    plan = forecast(card, cards, how, variant)
    assert plan.sharing is not None and plan.rate is not None
    step, largest = plan.positive_flops + plan.negative_flops, max(plan.positive_flops, plan.negative_flops)
    seconds = step / plan.rate.tflops / 1e12
    times = plan.sharing.speedup((step, largest), plan.rate.tflops * 1e12, link)
    sent = f"{plan.sharing.sent / 1e6:,.1f} MB"
    return ROW.format(
        card, link, cards, how, variant, sent, f"{seconds / times:.3g} s", f"{times:.2f} x", f"{times / cards:.0%}"
    )


def main() -> None:
    """Print the table."""
    sys.stdout.write("$ python -m benchmarks.parallel\nsimulated: no card was there\n\n")
    names = ("card", "link", "cards", "shared by", "variant", "sent a step", "time a step", "faster", "efficiency")
    sys.stdout.write(ROW.format(*names))
    for card, link, cards, ways in CASES:
        for variant in ("sparse", "full"):
            for how in ways:
                if variant == "sparse" or "shots" not in how:
                    sys.stdout.write(row(card, link, cards, how, variant))


if __name__ == "__main__":
    main()
