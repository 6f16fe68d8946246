"""The loop from noise to latents. Knows nothing of prompts, files or progress: it yields, the caller does the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from wan2.errors import RunError
from wan2.sampling.experts import Expert, expert_steps, first_low_noise_step
from wan2.sampling.guidance import Level, predict_velocity
from wan2.sampling.schedule import first_unguided_step, sigmas, timesteps
from wan2.sampling.solvers import make_solver
from wan2.sampling.step_cache import StepCache

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from torch import Tensor

    from wan2.models.conditioning import Conditioning
    from wan2.models.transformer import Passes
    from wan2.sampling.held import Held
    from wan2.sampling.solvers import Solver


@dataclass(frozen=True)
class DenoisePlan:
    """Everything that decides the path of the latents, given the noise, the experts and the conditioning.

    boundary: timestep, as a share of 1000, below which the low-noise expert works. The two guidance scales are those
    of the two experts; 1.0 means no negative pass. round_timestep: whether the experts were trained on timesteps that
    are rounded to the compute dtype. cfg_skip: share of the steps, at the end, that go without a negative pass.
    step_cache: see `StepCache`; 0 computes every step. held: latents that are there already, on the experts' device.
    frame_scales: guidance scales of single latent frames, in the place of the experts'; without any, an empty tuple.
    """

    infer_steps: int
    shift: float
    solver: str
    boundary: float
    guidance_scale_high_noise: float
    guidance_scale: float
    round_timestep: bool = False
    cfg_skip: float = 0.0
    step_cache: float = 0.0
    held: Held | None = None
    frame_scales: tuple[float | None, ...] = ()

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise level before each step."""
        return sigmas(self.infer_steps, self.shift, self.solver)

    @property
    def timesteps(self) -> tuple[float, ...]:
        """Timestep of each step, 0 to 1000, before any rounding to the compute dtype."""
        return timesteps(self.infer_steps, self.shift, self.solver)

    @property
    def first_low_noise_step(self) -> int:
        """First step of the low-noise expert."""
        return first_low_noise_step(self.timesteps, self.boundary)

    def expert_steps(self, start: int = 0) -> list[tuple[Expert, range]]:
        """The steps that each expert takes from `start` on, in order."""
        return expert_steps(self.timesteps, self.boundary, start)

    def on(self, device: torch.device) -> DenoisePlan:
        """The same with its tensors on a device."""
        return self if self.held is None else replace(self, held=self.held.to(device))

    def scale(self, expert: Expert, index: int) -> float | tuple[float, ...]:
        """Guidance scale of a step, which its expert takes, or one for each latent frame."""
        if index >= first_unguided_step(self.infer_steps, self.cfg_skip):
            return 1.0
        scale = self.guidance_scale_high_noise if expert == "high" else self.guidance_scale
        return tuple(scale if own is None else own for own in self.frame_scales) or scale


@dataclass(frozen=True)
class DenoiseStep:
    """What a step left: its index from 0, fp32 latents [B, 16, F, h, w], what solver and step cache remember.

    The latents and the states together are all a later run needs to go on to the same result, bit for bit. `passes` is
    how often the transformer was run for this step.
    """

    index: int
    latents: Tensor
    solver_state: dict[str, Tensor] = field(default_factory=dict)
    cache_state: dict[str, Tensor] = field(default_factory=dict)
    passes: int = 0


def initial_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Normal noise of `shape`, fp32, drawn on the CPU so that a seed means the same on every machine."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32)


def denoise(
    open_expert: Callable[[Expert], AbstractContextManager[Passes]],
    latents: Tensor,
    plan: DenoisePlan,
    positive: Conditioning,
    negative: Conditioning | None,
    after: DenoiseStep | None = None,
) -> Generator[DenoiseStep]:
    """Take every step of the plan, yielding after each; with `after`, those that follow it, from its latents.

    `latents` (the noise, fp32) and both conditionings lie on the experts' device. One expert is open at a time, and
    only while it works. Raises `RunError` as soon as the latents are not finite.
    """
    solver = make_solver(plan.solver, plan.infer_steps, plan.shift)
    start = 0
    if after is not None:
        start, latents = after.index + 1, after.latents
        solver.restore(start, after.solver_state)
    for expert, steps in plan.expert_steps(start):
        cache = StepCache(plan.step_cache)
        if after is not None and steps.start == start and start != plan.first_low_noise_step:
            cache.restore(after.cache_state)
        with open_expert(expert) as model:
            tokens = math.prod(latents.shape[2:]) // math.prod(model.config.patch_size)
            towards, away = positive.keeping_text(tokens), negative and negative.keeping_text(tokens)
            for index in steps:
                with torch.inference_mode():
                    timestep = torch.tensor(plan.timesteps[index])
                    if plan.round_timestep:
                        timestep = timestep.to(model.dtype).float()
                    level = Level(timestep, plan.sigmas[index], plan.scale(expert, index))
                    placed, shown = _before_step(latents, level.sigma, plan.held)
                    velocity, run = predict_velocity(model, shown, level, towards, away, cache)
                    latents = _after_step(solver, velocity, index, placed, plan)
                    _check_finite(latents, index, plan.infer_steps, expert)
                yield DenoiseStep(index, latents, solver.state(), cache.state(), run)


def given_steps(plan: DenoisePlan, noise: Tensor) -> DenoiseStep | None:
    """The last of the first steps at which every frame is held: their velocities are known, and no expert is needed.

    noise: the latents that the first step begins with, on the device of what is held. None where there is no such step.
    """
    held = plan.held
    count = held.given(plan.sigmas, noise.shape[2]) if held is not None else 0
    if held is None or not count:
        return None
    solver, latents = make_solver(plan.solver, plan.infer_steps, plan.shift), noise
    for index in range(count):
        sigma = plan.sigmas[index]
        latents = _after_step(solver, torch.zeros_like(latents), index, held.place(latents, sigma), plan)
    return DenoiseStep(count - 1, latents, solver.state())


def _before_step(latents: Tensor, sigma: float, held: Held | None) -> tuple[Tensor, Tensor]:
    """The latents that a step begins with, and as the transformer sees them."""
    if held is None:
        return latents, latents
    placed = held.place(latents, sigma)
    return placed, held.show(placed, sigma)


def _after_step(solver: Solver, velocity: Tensor, index: int, latents: Tensor, plan: DenoisePlan) -> Tensor:
    """The latents that a step leaves."""
    if plan.held is None:
        return solver.step(velocity, index, latents)
    moved = solver.step(plan.held.steer(velocity, plan.sigmas[index]), index, latents)
    return plan.held.finish(moved) if index + 1 == plan.infer_steps else moved


def _check_finite(latents: Tensor, index: int, steps: int, expert: Expert) -> None:
    if not torch.isfinite(latents).all():
        raise RunError(
            f"step {index + 1} of {steps} ({expert}-noise expert) gave values that are not finite; likely causes: "
            "float16 overflow (try `dtype` bfloat16), an attention kernel that fails on this card (try `attn_mode` "
            "sdpa), a damaged checkpoint, fp8 scales that are not those of its weights, or a LoRA that adds too much "
            "(`lora_multiplier`)"
        )
