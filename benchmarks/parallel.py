"""What several cards would gain: `python -m benchmarks.parallel`. Simulated: nothing here ran on a card.

`--measure` runs the miniature on the processor instead, by one process and by two with a thread each. Besides the time
it shows the processor time of the busiest process: with a core for each, the time would be near that.

Operations and bytes are counted, the rates of cards and links are published ones, of which a share is assumed
(`wan2/plan/rates.py`, `wan2/plan/traffic.py`). Nothing is taken to overlap. The scene is six even shots of 241 frames
at 480x832.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import torch

from benchmarks.table import heading
from holocine_ext import Cards, Compute, Output, Request, Sampling, Session
from holocine_ext.forecast import Forecast
from holocine_ext.plan import look_ahead
from holocine_ext.presets import MODELS
from holocine_ext.request import scene_request
from holocine_ext.story.storyboard import Storyboard
from wan2.events import StepTaken
from wan2.plan.files import Files
from wan2.plan.rates import rate_of_card

SHOTS = 6
MEASURED = (256, 256)
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


def measured(folder: Path, cards: int, how: str) -> tuple[float, float]:
    """Seconds of denoising with the miniature, and processor seconds of the busiest process."""
    board = Storyboard.of("A ball and a box.", ["View 1.", "View 2."])
    output = Output(folder / f"{cards}{how}.safetensors", output_type="latent")
    request = Request(
        board, MODELS["nano"]["sparse"], seed=1, size=MEASURED, num_frames=97, sampling=Sampling(infer_steps=4),
        compute=Compute(device="cpu"), cards=Cards(cards, how), output=output,
    )  # fmt: skip
    plan = request.plan()
    with Session(plan.model, plan.compute, cards=plan.cards) as session:
        # From the end of the first step on, which also loads the weights.
        steps = (event for event in session.run(plan) if isinstance(event, StepTaken))
        times = [(time.perf_counter(), _processor_seconds()) for _ in steps]
    (began, before), (ended, after) = times[0], times[-1]
    return ended - began, max(now - then for then, now in zip(before, after, strict=True))


def _processor_seconds() -> list[float]:
    """Of this process and of those that it started."""
    this = psutil.Process()
    used = [process.cpu_times() for process in (this, *sorted(this.children(), key=lambda one: one.pid))]
    return [times.user + times.system for times in used]


def measure() -> None:
    """Print what two processes gain over one."""
    torch.set_num_threads(1)
    sys.stdout.write(heading("benchmarks.parallel", ["--measure"]))
    sys.stdout.write(f"{'processes':10}{'shared by':11}{'seconds':>9}{'busiest':>9}{'faster':>9}{'by busiest':>12}\n")
    with TemporaryDirectory() as folder:
        alone = measured(Path(folder), 1, "auto")
        for cards, how in ((1, "auto"), (2, "cfg"), (2, "shots"), (2, "ulysses")):
            wall, busiest = alone if cards == 1 else measured(Path(folder), cards, how)
            sys.stdout.write(f"{cards:<10}{how if cards > 1 else '':11}{wall:9.2f}{busiest:9.2f}")
            sys.stdout.write(f"{alone[0] / wall:8.2f}x{alone[1] / busiest:11.2f}x\n")


def main() -> None:
    """Print the table."""
    if sys.argv[1:] == ["--measure"]:
        measure()
        return
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
