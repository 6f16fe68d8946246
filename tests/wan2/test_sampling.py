from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler
from safetensors.torch import load_file
from torch import Tensor

from tests.wan2.reference import CASES, CONFIG, windows
from wan2.errors import InputError, RunError
from wan2.models.conditioning import Conditioning
from wan2.models.layers import Block
from wan2.models.transformer import WanTransformer
from wan2.sampling.denoise import DenoisePlan, denoise, initial_noise
from wan2.sampling.experts import Expert, expert_steps, first_low_noise_step
from wan2.sampling.guidance import guide
from wan2.sampling.schedule import sigmas, timesteps
from wan2.sampling.solvers import MULTISTEP, SOLVERS, UniPC, make_solver

DATA = Path(__file__).parents[1] / "data"
SCHEDULES = json.loads((DATA / "schedule.json").read_text())


@pytest.mark.parametrize("case", SCHEDULES, ids=lambda case: f"{case['num_inference_steps']}-{case['shift']}")
def test_the_schedule_is_the_published_one(case: dict) -> None:
    steps, shift = case["num_inference_steps"], case["shift"]
    assert sigmas(steps, shift, "euler") == pytest.approx(case["sigmas"], abs=1e-6)
    assert timesteps(steps, shift, "euler") == pytest.approx(case["timesteps"], abs=1e-6)
    assert first_low_noise_step(timesteps(steps, shift, "euler"), 0.875) == case["first_low_noise_step"]


@pytest.mark.parametrize("solver", MULTISTEP)
@pytest.mark.parametrize("shift", [0.01, 0.7, 1.0, 3.0, 5.0, 7.3, 12.0, 100.0])
def test_the_levels_of_a_multistep_solver_are_those_of_wan22(solver: str, shift: float) -> None:
    """Its schedulers' arithmetic in NumPy, for every number of steps: to the bit."""
    training = torch.from_numpy(1.0 - np.linspace(1, 1 / 1000, 1000)[::-1].copy()).float()
    first, last = (training[0].item(), training[-1].item()) if solver == "unipc" else (1.0, 0.0)
    for steps in range(1, 1001):
        evenly = np.linspace(first, last, steps + 1)[:-1]
        levels = shift * evenly / (1 + (shift - 1) * evenly)
        assert list(sigmas(steps, shift, solver)) == levels.astype(np.float32).tolist()
        assert list(timesteps(steps, shift, solver)) == (levels * 1000).astype(np.int64).tolist()


def test_eulers_levels_begin_at_1_and_its_timesteps_have_fractions() -> None:
    assert sigmas(4, 5.0, "euler")[0] == sigmas(4, 5.0, "dpm++")[0] == 1.0 > sigmas(4, 5.0, "unipc")[0]
    assert timesteps(4, 5.0, "euler") == (1000.0, 937.5, pytest.approx(833.3333), 625.0)
    assert timesteps(4, 5.0, "dpm++") == (1000.0, 937.0, 833.0, 625.0)
    assert timesteps(4, 5.0, "unipc") == (999.0, 937.0, 833.0, 624.0)


def test_a_step_at_the_boundary_is_the_high_noise_experts() -> None:
    assert first_low_noise_step([1000.0, 875.0, 874.99], 0.875) == 2
    assert first_low_noise_step([1000.0, 900.0], 0.0) == 2
    assert expert_steps([900.0, 800.0, 950.0], 0.875) == [("high", range(1)), ("low", range(1, 3))]
    assert expert_steps([900.0, 800.0, 700.0], 0.875, start=2) == [("low", range(2, 3))]


def test_guidance_is_an_extrapolation() -> None:
    assert torch.equal(guide(torch.tensor(3.0), torch.tensor(1.0), 5.0), torch.tensor(11.0))


def gaussian_velocity(x: Tensor, sigma: float, mean: float = 2.0, deviation: float = 0.3) -> Tensor:
    """Exact velocity when the data is one Gaussian: E[noise - data | x]."""
    signal = 1 - sigma
    slope = (sigma - signal * deviation**2) / (signal**2 * deviation**2 + sigma**2)
    return slope * (x - signal * mean) - mean


def solve(name: str, steps: int, x: Tensor, shift: float = 5.0) -> Tensor:
    solver = make_solver(name, steps, shift)
    for index, sigma in enumerate(sigmas(steps, shift, name)):
        x = solver.step(gaussian_velocity(x, sigma), index, x)
    return x


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_reach_the_exact_answer(name: str) -> None:
    noise = initial_noise((1, 1, 1, 8, 8), 0)
    error = (solve(name, 400, noise) - (2.0 + 0.3 * noise)).abs().max()
    assert error < 0.02


@pytest.mark.parametrize("name", MULTISTEP)
def test_second_order_beats_euler(name: str) -> None:
    noise = initial_noise((1, 1, 1, 8, 8), 0)
    exact = 2.0 + 0.3 * noise
    error, eulers = ((solve(solver, 20, noise, 1.0) - exact).abs().max() for solver in (name, "euler"))
    assert error < 0.2 * eulers


@pytest.mark.parametrize(("steps", "shift"), [(1, 5.0), (2, 5.0), (3, 100.0), (8, 12.0), (20, 0.2), (50, 5.0)])
@pytest.mark.parametrize("name", MULTISTEP)
def test_multistep_solvers_run_on_exactly_their_levels(name: str, steps: int, shift: float) -> None:
    solver = make_solver(name, steps, shift)
    assert isinstance(solver, UniPC) == (name == "unipc")
    scheduler = solver.scheduler  # type: ignore[attr-defined]
    assert scheduler.sigmas.tolist() == [*sigmas(steps, shift, name), 0.0]
    assert scheduler.timesteps.tolist() == list(timesteps(steps, shift, name))
    assert torch.isfinite(solve(name, steps, initial_noise((1, 1, 1, 2, 2), 0), shift)).all()


def dpm_by_the_paper(x: Tensor, levels: Sequence[float]) -> Tensor:
    """DPM-Solver++(2M) in float64 as the paper writes it, its limit taken where the first level is 1."""
    x, before = x.double(), None
    for index, (sigma, after) in enumerate(pairwise(levels)):
        data = x - sigma * gaussian_velocity(x, sigma)
        guess = data
        if before is not None and after > 0:
            earlier, now, then = (
                math.log((1 - s) / s) if s < 1 else -math.inf for s in (levels[index - 1], sigma, after)
            )
            guess = data + (then - now) / (2 * (now - earlier)) * (data - before)
        ratio = after / sigma
        x, before = ratio * x + (1 - after - ratio * (1 - sigma)) * guess, data
    return x


@pytest.mark.parametrize(("steps", "shift"), [(1, 5.0), (2, 3.0), (5, 3.0), (14, 12.0), (40, 1.0)])
def test_dpm_is_that_of_the_paper(steps: int, shift: float) -> None:
    noise = initial_noise((1, 1, 1, 4, 4), 0)
    expected = dpm_by_the_paper(noise, [*sigmas(steps, shift, "dpm++"), 0.0])
    torch.testing.assert_close(solve("dpm++", steps, noise, shift).double(), expected, atol=1e-5, rtol=1e-5)


def test_unipc_is_the_one_diffusers_makes_when_given_our_levels() -> None:
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(sigmas=np.array(sigmas(12, 5.0, "unipc")))
    scheduler.set_begin_index(0)
    x = noise = initial_noise((1, 1, 1, 4, 4), 0)
    for index, sigma in enumerate(sigmas(12, 5.0, "unipc")):
        x = scheduler.step(gaussian_velocity(x, sigma), scheduler.timesteps[index], x).prev_sample
    torch.testing.assert_close(solve("unipc", 12, noise), x, atol=1e-5, rtol=1e-5)


def test_an_unknown_solver_is_refused() -> None:
    with pytest.raises(InputError, match="sample_solver magic: must be one of euler"):
        make_solver("magic", 4, 5.0)


class Experts:
    """Opens the reference experts, and remembers which and how many at once."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self.opened: list[str] = []
        self.open = 0
        self.passes = 0

    @contextmanager
    def __call__(self, expert: Expert) -> Iterator[WanTransformer]:
        self.opened.append(expert)
        self.open += 1
        assert self.open == 1
        model = WanTransformer(CONFIG)
        model.load_state_dict(load_file(DATA / f"dit_{expert}_noise.safetensors"))
        model.to(self.dtype)
        model.passes = partial(self._counted, model.passes)  # type: ignore[method-assign]
        try:
            yield model
        finally:
            self.open -= 1

    def _counted(self, passes: Callable[..., list[Tensor]], *given: Any) -> list[Tensor]:  # noqa: ANN401
        found = passes(*given)
        self.passes += len(found)
        return found


def small_plan(**changes: object) -> DenoisePlan:
    values: dict = {"infer_steps": 4, "shift": 5.0, "solver": "euler", "boundary": 0.875}
    values |= {"guidance_scale_high_noise": 3.0, "guidance_scale": 3.0}
    return DenoisePlan(**values | changes)


def conditionings() -> tuple[Conditioning, Conditioning]:
    tensors = load_file(DATA / "denoise.safetensors")
    return Conditioning(tensors["context"]), Conditioning(tensors["negative_context"])


def test_without_guidance_the_negative_pass_is_not_run() -> None:
    noise, positive = initial_noise((1, 16, 2, 4, 4), 1), conditionings()[0]
    experts = Experts()
    plan = small_plan(guidance_scale=1.0, guidance_scale_high_noise=1.0)
    steps = list(denoise(experts, noise, plan, positive, None))
    assert [step.index for step in steps] == [0, 1, 2, 3]
    assert experts.passes == 4
    assert experts.opened == ["high", "low"]


def test_a_scale_of_its_own_for_each_expert() -> None:
    noise, (positive, negative) = initial_noise((1, 16, 2, 4, 4), 1), conditionings()
    experts = Experts()
    list(denoise(experts, noise, small_plan(guidance_scale_high_noise=1.0), positive, negative))
    assert experts.passes == 2 + 2 * 2


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_a_run_goes_on_bit_for_bit(solver: str, after: int) -> None:
    noise, (positive, negative) = initial_noise((1, 16, 2, 4, 4), 1), conditionings()
    plan = small_plan(solver=solver, infer_steps=6)
    whole = list(denoise(Experts(), noise, plan, positive, negative))
    rest = list(denoise(Experts(), noise, plan, positive, negative, whole[after]))
    assert [step.index for step in rest] == list(range(after + 1, 6))
    assert torch.equal(rest[-1].latents, whole[-1].latents)


@pytest.mark.parametrize(
    ("solver", "dtype"), [("euler", torch.float16), ("unipc", torch.bfloat16), ("dpm++", torch.float32)]
)
@pytest.mark.parametrize("rounded", [True, False])
def test_whether_timesteps_are_rounded_to_the_compute_dtype_is_the_models(
    monkeypatch: pytest.MonkeyPatch, solver: str, dtype: torch.dtype, rounded: bool
) -> None:
    noise, (positive, negative) = initial_noise((1, 16, 1, 4, 4), 1), conditionings()
    plan = small_plan(solver=solver, round_timestep=rounded)
    given: list[float] = []

    def noted(self: WanTransformer, timestep: Tensor) -> tuple[Tensor, Tensor]:
        given.append(timestep.item())
        return embed_time(self, timestep)

    embed_time = WanTransformer.embed_time
    monkeypatch.setattr(WanTransformer, "embed_time", noted)
    list(denoise(Experts(dtype), noise, plan, positive, negative))
    expected = [torch.tensor(t).to(dtype).item() if rounded else t for t in plan.timesteps for _ in range(2)]
    assert given == expected
    assert any(t not in plan.timesteps for t in given) == (rounded and dtype != torch.float32)


def test_leaving_the_loop_closes_the_expert() -> None:
    noise, (positive, negative) = initial_noise((1, 16, 2, 4, 4), 1), conditionings()
    experts = Experts()
    loop = denoise(experts, noise, small_plan(), positive, negative)
    next(loop)
    assert experts.open == 1
    loop.close()
    assert experts.open == 0


def test_values_that_are_not_finite_stop_the_run() -> None:
    noise, (positive, negative) = initial_noise((1, 16, 2, 4, 4), 1), conditionings()
    with pytest.raises(RunError, match=r"step 1 of 4 \(high-noise expert\).*not finite.*`dtype` bfloat16"):
        list(denoise(Experts(), noise * float("inf"), small_plan(), positive, negative))


def test_guidance_without_a_negative_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a negative"):
        list(denoise(Experts(), initial_noise((1, 16, 2, 4, 4), 1), small_plan(), conditionings()[0], None))


@pytest.mark.parametrize("run", json.loads((DATA / "denoise.json").read_text()), ids=lambda run: run["key"])
def test_whole_runs_agree_with_the_reference(run: dict) -> None:
    if not run["key"].startswith("full"):
        pytest.skip("its self-attention is an extension's")
    positive, negative = conditionings()
    positive = Conditioning(positive.context, cross_attn=windows(CASES["cases"][run["case"]]))
    scale = run["cfg_scale"]
    plan = DenoisePlan(run["steps"], run["shift"], "euler", run["boundary"], scale, scale)
    expected = load_file(DATA / "denoise.safetensors")[run["key"]]
    *_, last = denoise(Experts(), initial_noise(tuple(expected.shape), run["seed"]), plan, positive, negative)
    assert (last.latents - expected).abs().max() < 1e-3


def test_an_expert_reads_each_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    noise, (positive, negative) = initial_noise((1, 16, 2, 4, 4), 1), conditionings()
    read: list[Tensor] = []
    text_keys = Block.text_keys

    def noted(self: Block, text: Tensor) -> tuple[Tensor, Tensor]:
        read.append(text)
        return text_keys(self, text)

    monkeypatch.setattr(Block, "text_keys", noted)
    *_, kept = denoise(Experts(), noise, small_plan(infer_steps=6), positive, negative)
    assert len(read) == 2 * 2 * CONFIG.num_layers
    monkeypatch.setattr("wan2.models.conditioning.TOKENS_PER_POSITION", 0)
    read.clear()
    *_, made = denoise(Experts(), noise, small_plan(infer_steps=6), positive, negative)
    assert len(read) == 6 * 2 * CONFIG.num_layers
    assert torch.equal(kept.latents, made.latents)
    assert positive.text_keys is None and negative.text_keys is None
