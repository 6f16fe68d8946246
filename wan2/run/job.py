"""A plan with what it is carried out by, and how far that has come. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wan2.plan.plan import Plan
from wan2.request.model import Noise
from wan2.request.request import Request
from wan2.run.claim import Claim
from wan2.run.record import Recorder

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from wan2.models.attention import DenseAttention
    from wan2.models.branches import Strengths
    from wan2.models.conditioning import Conditioning, PlanAttentions
    from wan2.run.footage import Footage
    from wan2.run.keeper import Keeper
    from wan2.run.sinks import OpenSinks
    from wan2.sampling.denoise import DenoisePlan, DenoiseStep

    DrawPreview = Callable[[Tensor, Tensor, int], Image.Image]
    """Given latents, colours as of `preview.fit_colours` and the number of steps taken: the preview."""


@dataclass(frozen=True)
class Job:
    """A plan, and what an extension carries it out with.

    Attributes:
        plan: what to make.
        attentions: given the dense kernel, the attentions of the passes with and without the prompt; None is
            dense attention to everything.
        extra_channels: makes the latent channels [1, n, F, h, w] for transformers that take 16 + n.
        open_sinks: opens what gets every decoded frame, besides the files of `output_type`.
        draw_preview: draws the picture of unfinished latents; None draws frames in a row.
        lora_ranges: how much of each LoRA of an expert counts where, with `lora_mode` branch; None is its multiplier,
            everywhere.
    """

    plan: Plan
    attentions: PlanAttentions | None = None
    extra_channels: Callable[[], Tensor] | None = None
    open_sinks: OpenSinks | None = None
    draw_preview: DrawPreview | None = None
    lora_ranges: Callable[[Noise], tuple[Strengths, ...]] | None = None


@dataclass(frozen=True)
class Claimed:
    """A job whose names this process holds.

    number: its place in the wave. held: gives the names back, and ends everything else of the job.
    """

    number: int
    job: Job
    claim: Claim
    held: ExitStack


@dataclass
class Active:
    """A job that is being carried out.

    request: with `auto` decided. latents: the finished ones, [1, 16, F, h, w], fp32 on the CPU. step: the last step
    that was taken. text: a hash of the encoded prompts. footage: latents that come from elsewhere. noise: what the
    first step begins from, [1, 16, F, h, w], fp32 on the CPU.
    """

    begun: Claimed
    request: Request
    recorder: Recorder
    kernel: DenseAttention | None = None
    text: str = ""
    passes: tuple[Conditioning, ...] = ()
    colours: Tensor | None = None
    keeper: Keeper | None = None
    step: DenoiseStep | None = None
    latents: Tensor | None = None
    footage: Footage | None = None
    noise: Tensor | None = None
    ended: bool = False
    schedule: DenoisePlan = field(init=False)

    def __post_init__(self) -> None:
        from wan2.sampling.denoise import DenoisePlan

        sampling, model = self.request.sampling, self.request.model
        self.schedule = DenoisePlan(
            infer_steps=sampling.infer_steps,
            shift=sampling.flow_shift,
            solver=sampling.sample_solver,
            boundary=model.dual_dit_boundary,
            guidance_scale_high_noise=model.expert("high").guidance_scale,
            guidance_scale=model.expert("low").guidance_scale,
            round_timestep=model.round_timestep,
            cfg_skip=sampling.cfg_skip,
            step_cache=sampling.step_cache,
            frame_scales=self.plan.extension.scales,
        )

    @property
    def number(self) -> int:
        """Its place in the wave."""
        return self.begun.number

    @property
    def job(self) -> Job:
        """What is carried out."""
        return self.begun.job

    @property
    def claim(self) -> Claim:
        """The names of its files."""
        return self.begun.claim

    @property
    def held(self) -> ExitStack:
        """Ends what belongs to the job."""
        return self.begun.held

    @property
    def plan(self) -> Plan:
        """What is made."""
        return self.job.plan

    @property
    def start(self) -> int:
        """The index of the next step."""
        return 0 if self.step is None else self.step.index + 1

    def shown(self, latents: Tensor) -> Tensor:
        """Of finished latents [1, 16, F, h, w] those of the video: without frames that are only seen by the others."""
        return latents[:, :, : self.plan.shape.latent_frames]

    def steps(self, noise: Noise) -> range:
        """The steps that an expert still has to take."""
        return dict(self.schedule.expert_steps(self.start)).get(noise, range(0))

    def strengths(self, noise: Noise) -> tuple[Strengths, ...]:
        """How much of each LoRA beside the weights of an expert counts, and where."""
        from wan2.models.branches import Strengths

        model, ranges = self.request.model, self.job.lora_ranges
        if not model.branches:
            return ()
        whole = tuple(Strengths(lora.multiplier) for lora in model.expert(noise).loras)
        return whole if ranges is None else ranges(noise)

    def end(self) -> None:
        """Nothing of the job is needed any more: its names are free, its tensors can go."""
        self.ended = True
        self.held.close()
        self.passes, self.step, self.keeper, self.colours = (), None, None, None
        self.footage = self.noise = None


def paused(step: DenoiseStep) -> DenoiseStep:
    """The same step with its tensors on the host, while another job has the device."""
    solver, cache = ({name: value.cpu() for name, value in x.items()} for x in (step.solver_state, step.cache_state))
    return replace(step, latents=step.latents.cpu(), solver_state=solver, cache_state=cache)


def resumed(step: DenoiseStep, device: torch.device) -> DenoiseStep:
    """The same step with its tensors on the device."""
    solver, cache = (
        {name: value.to(device) for name, value in x.items()} for x in (step.solver_state, step.cache_state)
    )
    return replace(step, latents=step.latents.to(device), solver_state=solver, cache_state=cache)
