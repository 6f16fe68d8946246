"""How long does a scene take on a card? `python -m benchmarks.cards`: what `--dry_run --card` predicts, card by card.

241 frames of 480x832, six shots, 50 steps with guidance. Operations are counted; the rate is a share, assumed, of the
peak that the maker publishes. Nothing was measured.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.table import columns
from holocine_ext.forecast import Forecast, make_forecast
from holocine_ext.presets import MODELS
from holocine_ext.report import duration
from holocine_ext.request import scene_request
from holocine_ext.story.boards import from_arguments
from wan2.models.config import A14B
from wan2.plan.budget import Work
from wan2.plan.rates import CARDS, rate_of_card

SCENE = from_arguments(global_caption="A harbour.", shot_captions=["-"] * 6)
SIZE = {"num_frames": 241, "height": 480, "width": 832}


def row(card: str) -> list[str]:
    """A line of a card: its rate, then seconds a step and the time of all steps, sparse and full."""
    rate = rate_of_card(card)
    cells = [f"{rate.tflops:.0f}"]
    for variant in ("sparse", "full"):
        plan = forecast(variant)
        seconds = plan.total_flops / rate.tflops / 1e12
        cells += [f"{seconds / plan.request.sampling.infer_steps:.1f}", duration(seconds)]
    return [f"{card}, {CARDS[card].said.split(':')[0]}", *cells]


def forecast(variant: str) -> Forecast:
    """The plan of the scene."""
    return make_forecast(scene_request(SCENE, MODELS["holocine"][variant], SIZE), None, Work(A14B))


def main() -> None:
    """Print a row a card."""
    parser = argparse.ArgumentParser(prog="benchmarks.cards", description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    rows = [["card, its peak", "TFLOP/s taken", "sparse, s a step", "in all", "full, s a step", "in all"]]
    sys.stdout.write("$ python -m benchmarks.cards\npredicted, nothing was measured\n\n")
    sys.stdout.write(columns([*rows, *map(row, CARDS)]))


if __name__ == "__main__":
    main()
