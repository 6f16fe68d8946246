"""Whether runs come out right on a machine: the miniature on device and processor, streamed, resumed, in fp8."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from holocine_ext.check.findings import Finding
from holocine_ext.face import Request
from holocine_ext.presets import MODELS
from holocine_ext.run import Session
from holocine_ext.story.storyboard import Storyboard
from wan2.errors import InputError
from wan2.events import Finished, StepTaken
from wan2.models.fp8 import check_fast, multiply_out, quantise_rows
from wan2.request.compute import Compute
from wan2.request.output import Output
from wan2.request.sampling import Sampling
from wan2.run.machine import Machine

SCENE = Storyboard.of(
    "The scene is a beach by day with a tree. [character1] is a red ball wearing a hat.",
    ["Wide shot of [character1] moving right.", "Close-up of [character1]."],
)
STEPS = Sampling(infer_steps=6, flow_shift=5.0, sample_solver="euler")
FRAMES, SEED, STOP_AFTER = 17, 7, 2
BLOCKS = 6
# Of the latents: how far two devices may be apart in fp32 after six steps, and fp8 from what it stands for.
SAME, NEAR = 1e-3, 0.2
GROUP = "runs of the miniature"
KEPT = Path(__file__).with_name("latents.safetensors")
"""The latents of this run in fp32 on a processor, [1, 16, 5, 8, 8]."""


class Runs:
    """Runs of the miniature into a folder.

    Args:
        machine: where.
        folder: takes their files.
    """

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine, self.folder = machine, folder
        self.device = str(machine.device)
        self._made = 0

    def findings(self) -> Iterator[Finding]:
        """Everything, the quickest first."""
        exact = Compute(device=self.device, dtype="float32", blocks_to_swap=0)
        straight = self._latents(exact)
        processor = straight if self.device == "cpu" else self._latents(replace(exact, device="cpu"))
        kept = load_file(KEPT)["latents"]
        yield self._near("fp32, and the figures kept with the program", straight, kept, SAME)
        if self.device != "cpu":
            yield self._near("fp32 on the device and on the processor", straight, processor, SAME)
        usual = Compute(device=self.device, blocks_to_swap=0)
        whole = self._latents(usual)
        for source in ("disk",) if self.device == "cpu" else ("disk", "ram"):
            streamed = self._latents(replace(usual, blocks_to_swap=BLOCKS, weights_from=source))
            yield self._equal(f"every block streamed from {source}", streamed, whole)
        yield self._equal("stopped after two steps, and resumed", self._resumed(usual), whole)
        yield self._near("fp8_scaled, and without", self._latents(replace(usual, fp8_scaled=True)), whole, NEAR)
        yield from self._fast(usual, whole)

    def _fast(self, usual: Compute, whole: Tensor) -> Iterator[Finding]:
        try:
            check_fast(self.machine.device)
        except InputError as error:
            yield Finding(GROUP, "fp8_fast", f"not here: {error.rule}"[:110])
            return
        yield self._near("fp8_fast, and without", self._latents(replace(usual, fp8_fast=True)), whole, NEAR)

    def _request(self, compute: Compute, path: Path) -> Request:
        output = Output(path, output_type="latent", save_every=1)
        model = MODELS["nano"]["sparse"]
        return Request(SCENE, model, seed=SEED, num_frames=FRAMES, sampling=STEPS, compute=compute, output=output)

    def _path(self) -> Path:
        self._made += 1
        return self.folder / f"run{self._made}.safetensors"

    def _latents(self, compute: Compute) -> Tensor:
        return _finish(self._request(compute, self._path()))

    def _resumed(self, compute: Compute) -> Tensor:
        request = self._request(compute, self._path())
        plan = request.plan()
        with Session(plan.model, plan.compute) as session, closing(session.run(plan)) as events:
            for event in events:
                if isinstance(event, StepTaken) and event.index + 1 == STOP_AFTER:
                    break
        return _finish(replace(request, resume=Path()))

    def _equal(self, name: str, found: Tensor, expected: Tensor) -> Finding:
        same = torch.equal(found, expected)
        words = "the same latents to the bit" if same else f"latents off by {apart(found, expected):.1e}"
        return Finding(GROUP, name, words, apart(found, expected), "", same)

    def _near(self, name: str, found: Tensor, expected: Tensor, allowed: float) -> Finding:
        distance = apart(found, expected)
        return Finding(
            GROUP, name, f"latents {distance:.1e} apart, may be {allowed:g}", distance, "", distance <= allowed
        )


def fp8(machine: Machine) -> Iterator[Finding]:
    """What three bits of mantissa lose of normal numbers, on the device."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(256, 256, generator=generator).to(machine.device)
    try:
        lost = apart(multiply_out(*quantise_rows(weight)[:2], torch.float32).cpu(), weight.cpu())
    except (RuntimeError, TypeError) as error:
        yield Finding("fp8", "rounding to fp8", f"not here: {' '.join(str(error).split())[:100]}")
        return
    yield Finding("fp8", "rounding to fp8", f"{lost:.4f} lost, may be 0.03", lost, "", 0.02 < lost < 0.03)


def _finish(request: Request) -> Tensor:
    plan = request.plan()
    with Session(plan.model, plan.compute) as session:
        for event in session.run(plan):
            if isinstance(event, Finished):
                return event.latents
    raise RuntimeError("the run did not finish")


def apart(found: Tensor, expected: Tensor) -> float:
    """How far two results are apart, relative to the second."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())
