"""Latents that are held while others are made: exact at the end, on their path before, seen by the rest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.wan2.reference import CONFIG
from wan2.models.conditioning import Conditioning
from wan2.sampling.denoise import DenoisePlan, DenoiseStep, denoise, initial_noise
from wan2.sampling.guidance import guide
from wan2.sampling.held import Held
from wan2.sampling.solvers import SOLVERS

SHAPE = (1, 16, 4, 4, 4)
CLEAN, ITS_NOISE, NOISE = (initial_noise(SHAPE, seed) for seed in (1, 2, 3))
PASSES = (Conditioning(torch.zeros(1, 1, 1)), Conditioning(torch.ones(1, 1, 1)))
FRAMES = (0, 2)
FREE = [1, 3]


class Mixing:
    """Stands for a transformer in which every frame sees all others; keeps what it was shown."""

    config = CONFIG

    def __init__(self) -> None:
        self.shown: list[Tensor] = []

    def passes(self, latents: Tensor, timestep: Tensor, conditionings: Sequence[Conditioning]) -> list[Tensor]:
        self.shown.append(latents)
        seen = latents.mean(dim=2, keepdim=True)
        return [NOISE - seen * (timestep / 1000) ** 2 + 0.1 * one.context.mean() for one in conditionings]


def held(**changes: Any) -> Held:  # noqa: ANN401
    frames = list(FRAMES)
    return replace(Held(CLEAN[:, :, frames], ITS_NOISE[:, :, frames], FRAMES, (0.0, 0.0)), **changes)


def run(
    held: Held | None,
    model: Mixing | None = None,
    after: DenoiseStep | None = None,
    **changes: Any,  # noqa: ANN401
) -> list[DenoiseStep]:
    values: dict[str, Any] = {"infer_steps": 8, "shift": 5.0, "solver": "euler", "boundary": 0.875}
    values |= {"guidance_scale_high_noise": 2.0, "guidance_scale": 3.0, "held": held}
    made = DenoisePlan(**values | changes)
    return list(denoise(lambda _: nullcontext(model or Mixing()), NOISE, made, *PASSES, after))  # type: ignore[arg-type]


def on_path(sigma: float) -> Tensor:
    return ((1 - sigma) * CLEAN + sigma * ITS_NOISE)[:, :, list(FRAMES)]


@pytest.mark.parametrize("solver", SOLVERS)
def test_held_frames_are_in_the_end_what_they_were_and_on_their_path_before(solver: str) -> None:
    model, plan = Mixing(), DenoisePlan(8, 5.0, solver, 0.875, 2.0, 3.0)
    *steps, last = run(held(), model, solver=solver)
    assert torch.equal(last.latents[:, :, list(FRAMES)], CLEAN[:, :, list(FRAMES)])
    for sigma, shown in zip(plan.sigmas, model.shown, strict=True):
        assert torch.equal(shown[:, :, list(FRAMES)], on_path(sigma))
    for sigma, step in zip(plan.sigmas[1:], steps, strict=True):
        assert (step.latents[:, :, list(FRAMES)] - on_path(sigma)).abs().max() < 1e-4


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_other_frames_are_shaped_by_them(solver: str) -> None:
    alone, beside = run(None, solver=solver)[-1].latents, run(held(), solver=solver)[-1].latents
    assert (alone - beside)[:, :, FREE].abs().mean() > 0.01


@pytest.mark.parametrize("solver", ["unipc", "dpm++"])
def test_a_multistep_solver_remembers_them_as_they_are(solver: str) -> None:
    for step in run(held(), solver=solver)[:-1]:
        for name, value in step.solver_state.items():
            if name.startswith("prediction"):
                assert (value[:, :, list(FRAMES)] - CLEAN[:, :, list(FRAMES)]).abs().max() < 1e-4


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_share_of_the_noise_is_what_the_transformer_sees_of_them(share: float) -> None:
    model = Mixing()
    *_, last = run(held(share=share), model)
    sigmas = DenoisePlan(8, 5.0, "euler", 0.875, 2.0, 3.0).sigmas
    for sigma, shown in zip(sigmas, model.shown, strict=True):
        assert torch.allclose(shown[:, :, list(FRAMES)], on_path(share * sigma))
    assert not torch.equal(last.latents[:, :, FREE], run(held())[-1].latents[:, :, FREE])
    assert torch.equal(last.latents[:, :, list(FRAMES)], CLEAN[:, :, list(FRAMES)])


def test_frames_held_above_a_level_only_begin_there_from_what_they_were() -> None:
    """With all frames held so, an Euler run is one that begins at that level from the clean latents."""
    made = Held(CLEAN, ITS_NOISE, (0, 1, 2, 3), (0.6,) * 4)
    plan = DenoisePlan(8, 5.0, "euler", 0.875, 2.0, 3.0)
    first = next(index for index, sigma in enumerate(plan.sigmas) if sigma <= 0.6)
    level = plan.sigmas[first]
    begun = DenoiseStep(first - 1, (1 - level) * CLEAN + level * ITS_NOISE)
    assert torch.allclose(run(made)[-1].latents, run(None, after=begun)[-1].latents, atol=1e-5)


def test_a_share_is_not_for_frames_that_are_set_free() -> None:
    model = Mixing()
    run(held(until=(0.0, 0.6), share=0.0), model)
    plan = DenoisePlan(8, 5.0, "euler", 0.875, 2.0, 3.0)
    for sigma, shown in zip(plan.sigmas, model.shown, strict=True):
        assert torch.equal(shown[:, :, 0], CLEAN[:, :, 0])
        assert (sigma <= 0.6) or torch.equal(shown[:, :, 2], on_path(sigma)[:, :, 1])


@pytest.mark.parametrize("cache", [0.0, 0.3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_such_a_run_goes_on_bit_for_bit(solver: str, cache: float) -> None:
    how = {"solver": solver, "step_cache": cache}
    made = held(until=(0.0, 0.6), share=0.5)
    whole = run(made, **how)
    for after in (0, 3, 6):
        assert torch.equal(run(made, after=whole[after], **how)[-1].latents, whole[-1].latents)


def test_a_guidance_scale_of_single_frames_is_theirs_alone() -> None:
    velocities = [NOISE, CLEAN]
    mixed = guide(*velocities, (1.0, 2.0, 3.0, 2.0))
    for frame, scale in enumerate((1.0, 2.0, 3.0, 2.0)):
        assert torch.allclose(mixed[:, :, frame], guide(*velocities, scale)[:, :, frame])
    both, one = run(None, frame_scales=(2.0, None, 2.0, None)), run(None, frame_scales=(1.0,) * 4)
    assert {step.passes for step in both} == {2} and {step.passes for step in one} == {1}


def test_parts_that_do_not_fit_are_refused() -> None:
    for wrong in ({"frames": (0, 0)}, {"frames": (0,)}, {"until": (0.0,)}, {"noise": NOISE}):
        with pytest.raises(ValueError, match="held latents of"):
            held(**wrong)
