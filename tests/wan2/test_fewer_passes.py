"""Passes that are not run: late negative ones, and steps that are foreseen; what each preset fills in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from holocine_ext.presets import MODELS
from tests.refused import refused
from tests.tiny import QUICK, TinyModel, impatient
from tests.wan2.reference import CONFIG
from wan2.cli import main as cli
from wan2.cli.main import main
from wan2.models.conditioning import Conditioning
from wan2.request.flat import make_request
from wan2.request.presets import RECIPES, WAN22_T2V
from wan2.request.request import Request
from wan2.run.latents import load_latents
from wan2.sampling.denoise import DenoisePlan, DenoiseStep, denoise, initial_noise
from wan2.sampling.schedule import first_unguided_step
from wan2.sampling.solvers import SOLVERS
from wan2.sampling.step_cache import StepCache, is_state
from wan2.weights.header import read_header

NOISE = initial_noise((1, 16, 2, 4, 4), 3)
PASSES = [Conditioning(torch.zeros(1, 1, 1)), Conditioning(torch.ones(1, 1, 1))]


class Bent:
    """Stands for a transformer: a velocity that bends a little with the noise level and with the text."""

    config = CONFIG

    def __init__(self, bend: float = 0.1) -> None:
        self.bend = bend
        self.ran: list[int] = []

    def passes(self, latents: Tensor, timestep: Tensor, conditionings: list[Conditioning]) -> list[Tensor]:
        self.ran.append(len(conditionings))
        level = timestep / 1000
        return [NOISE + self.bend * (level**2 + 0.1 * c.context.mean()) * latents for c in conditionings]


def run(plan: DenoisePlan, model: Any = None, after: DenoiseStep | None = None) -> list[DenoiseStep]:  # noqa: ANN401
    @contextmanager
    def open_expert(_: str) -> Iterator[Any]:
        yield model or Bent()

    return list(denoise(open_expert, NOISE, plan, *PASSES, after))


def plan(**changes: Any) -> DenoisePlan:  # noqa: ANN401
    values: dict[str, Any] = {"infer_steps": 20, "shift": 5.0, "solver": "euler", "boundary": 0.875}
    return DenoisePlan(**values | {"guidance_scale_high_noise": 3.0, "guidance_scale": 3.0} | changes)


@pytest.mark.parametrize(("share", "guided"), [(0.0, 20), (0.3, 14), (0.5, 10), (0.99, 0), (1.0, 0)])
def test_the_last_steps_go_without_the_negative_pass(share: float, guided: int) -> None:
    model = Bent()
    steps = run(plan(cfg_skip=share), model)
    assert model.ran == [2] * guided + [1] * (20 - guided) == [step.passes for step in steps]
    assert first_unguided_step(20, share) == guided
    assert torch.equal(steps[-1].latents, run(plan())[-1].latents) == (not share)


def test_a_threshold_of_zero_computes_and_remembers_nothing_else() -> None:
    steps = run(plan())
    assert [step.passes for step in steps] == [2] * 20
    assert not any(step.cache_state for step in steps)


def test_the_higher_the_threshold_the_fewer_the_passes_and_the_larger_the_error() -> None:
    exact = run(plan())[-1].latents
    passes, errors = [], []
    for threshold in (0.005, 0.01, 0.05):
        steps = run(plan(step_cache=threshold))
        passes.append(sum(step.passes for step in steps))
        errors.append((steps[-1].latents - exact).abs().mean().item())
    assert 40 > passes[0] > passes[1] > passes[2] >= 8  # two steps of each expert are always computed
    assert errors == sorted(errors) and errors[-1] < 0.01


def test_a_velocity_that_is_linear_in_the_noise_level_is_foreseen_exactly() -> None:
    cache = StepCache(0.5)
    for sigma in (1.0, 0.9):
        assert cache.foresee(NOISE * sigma, sigma, 2) is None
        cache.keep(NOISE * sigma, sigma, [NOISE * (2 + 0.1 * sigma), NOISE * (3 - 0.1 * sigma)])
    foreseen = cache.foresee(NOISE * 0.7, 0.7, 2)
    assert foreseen is not None
    for found, expected in zip(foreseen, (NOISE * 2.07, NOISE * 2.93), strict=True):
        torch.testing.assert_close(found, expected)


def test_both_passes_are_spared_or_none() -> None:
    cache = StepCache(0.2)
    for sigma in (1.0, 0.9):
        cache.keep(NOISE * sigma, sigma, [NOISE, NOISE * (1 + 5 * (1 - sigma))])
    assert cache.foresee(NOISE * 0.8, 0.8, 1) is not None
    assert cache.foresee(NOISE * 0.8, 0.8, 2) is None
    cache.keep(NOISE * 0.8, 0.8, [NOISE])
    assert cache.foresee(NOISE * 0.79, 0.79, 2) is None  # the negative pass was forgotten with the step it missed


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_spares_nothing(bad: float) -> None:
    cache = StepCache(1.0)
    for sigma in (1.0, 0.9):
        cache.keep(NOISE * sigma, sigma, [NOISE * bad])
    assert cache.foresee(NOISE * 0.8, 0.8, 1) is None
    cache = StepCache(1.0)
    for sigma in (1.0, 0.9):
        cache.keep(NOISE, sigma, [NOISE * sigma])  # latents that did not move
    assert cache.foresee(NOISE * 0.8, 0.8, 1) is None


def test_the_other_expert_begins_with_nothing_remembered() -> None:
    made = plan(step_cache=1.0)
    steps = run(made)
    switch = made.first_low_noise_step
    assert 2 < switch < 18
    assert [steps[index].passes for index in (0, 1, switch, switch + 1)] == [2, 2, 2, 2]
    assert all(step.passes == 0 for step in steps[2:switch])
    assert "positive.rate" in steps[switch - 1].cache_state
    assert "positive.rate" not in steps[switch].cache_state


@pytest.mark.parametrize("after", range(0, 19, 3))
@pytest.mark.parametrize("solver", SOLVERS)
def test_what_is_remembered_goes_on_bit_for_bit(solver: str, after: int) -> None:
    made = plan(step_cache=0.02, cfg_skip=0.25, solver=solver)
    whole = run(made)
    assert 0 < sum(not step.passes for step in whole) < 18
    assert is_state({name: value.dim() > 0 for name, value in whole[after].cache_state.items()})
    rest = run(made, after=whole[after])
    assert [step.passes for step in rest] == [step.passes for step in whole[after + 1 :]]
    assert torch.equal(rest[-1].latents, whole[-1].latents)


@pytest.mark.parametrize(
    "names",
    [
        {"latents": True},
        {"latents": True, "sigma": False},
        {"latents": True, "sigma": False, "negative.velocity": True},
        {"latents": True, "sigma": False, "positive.velocity": False},
        {"latents": True, "sigma": False, "positive.velocity": True, "positive.rate": False},
        {"latents": True, "sigma": False, "positive.velocity": True, "other": True},
    ],
)
def test_what_is_no_state_of_a_cache(names: dict[str, bool]) -> None:
    assert not is_state(names)


FEWER = ["--prompt", "a gull", "--infer_steps", "16", "--flow_shift", "5", "--step_cache", "1", "--cfg_skip", "0.25"]
FEWER += ["--output_type", "both"]


def test_streamed_blocks_change_no_bit_when_steps_are_spared(tiny: TinyModel, tmp_path: Path) -> None:
    for count in ("0", "2"):
        words = [
            *tiny.flags(),
            *QUICK,
            *FEWER,
            "--blocks_to_swap",
            count,
            "--save_path",
            str(tmp_path / f"{count}.mp4"),
        ]
        assert main(words) == 0
    assert torch.equal(*(load_latents(tmp_path / f"{count}.safetensors") for count in "02"))


@pytest.mark.parametrize("stop", [3, 10])
def test_a_run_that_spares_steps_goes_on_bit_for_bit(
    tiny: TinyModel, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*tiny.flags(), *QUICK, *FEWER]
    assert main([*words, "--save_path", str(tmp_path / "b.mp4")]) == 0
    monkeypatch.setattr(cli, "Console", impatient(stop))
    assert main([*words, "--save_path", str(tmp_path / "a.mp4")]) == 130
    state = tmp_path / "a.state.safetensors"
    assert any(name.startswith("cache.") for name in read_header(state).shapes)
    assert main(["--resume", str(state)]) == 0
    assert torch.equal(*(load_latents(tmp_path / f"{name}.safetensors") for name in "ab"))
    passes = [json.loads((tmp_path / f"{name}.json").read_text())["passes"] for name in "ab"]
    assert passes[0] == passes[1] < 16 + 12


def test_a_state_without_what_its_cache_remembers_is_refused(
    tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wan2.cli.main.Console.stepwise", lambda _: nullcontext(lambda: True))
    assert main([*tiny.flags(), *QUICK, *FEWER, "--save_path", str(tmp_path / "a.mp4")]) == 130
    state = tmp_path / "a.state.safetensors"
    tensors, metadata = load_file(state), read_header(state).metadata
    for lost in ([name for name in tensors if name.startswith("cache.")], ["cache.latents"]):
        save_file({name: value for name, value in tensors.items() if name not in lost}, state, metadata)
        assert main(["--resume", str(state)]) == 2
        assert capsys.readouterr().err.rstrip().endswith("does not hold what its step cache remembers")


def made(of: Any = WAN22_T2V, **given: Any) -> Request:  # noqa: ANN401
    return make_request(of, {"prompt": "a gull", "seed": 1, **given})


def test_a_preset_fills_in_and_what_is_given_wins() -> None:
    assert made(preset="quality") == made()
    plain, draft = made().sampling, made(preset="draft").sampling
    assert draft.infer_steps < plain.infer_steps and draft.cfg_skip and draft.step_cache
    assert made(preset="draft", infer_steps=7, step_cache=0.0).sampling.infer_steps == 7
    assert made(preset="draft", step_cache=0.0).sampling.step_cache == 0
    assert made(preset="draft", guidance_scale=1.0).sampling.cfg_skip == 0


def test_lightning_is_for_experts_that_are_named() -> None:
    files = {"dit_high_noise": Path("a"), "dit_low_noise": Path("b")}
    for given in ({}, {"dit_high_noise": Path("a")}):
        with refused("--preset lightning: needs two experts that are distilled"):
            made(preset="lightning", **given)
    fast = made(preset="lightning", **files)
    sampling = fast.sampling
    assert (sampling.infer_steps, sampling.flow_shift, sampling.sample_solver) == (8, 5.0, "euler")
    assert not fast.guided
    assert made(preset="lightning", guidance_scale=3.0, **files).model.expert("high").guidance_scale == 3.0


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("model", [WAN22_T2V, *(family["full"] for family in MODELS.values())], ids=lambda m: m.name)
def test_every_model_has_every_recipe(model: Any, name: str) -> None:  # noqa: ANN401
    files = {"dit_high_noise": Path("a"), "dit_low_noise": Path("b")}
    assert made(model, preset=name, **files).sampling.infer_steps <= model.sampling.infer_steps


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"cfg_skip": 0.3, "guidance_scale": 1.0}, "--cfg_skip 0.3: with --guidance_scale 1 there is no negative pass"),
        ({"cfg_skip": 1.5}, "--cfg_skip 1.5: must lie between 0 and 1"),
        ({"step_cache": -0.1}, "--step_cache -0.1: must lie between 0 and 1"),
        ({"step_cache": float("nan")}, "--step_cache nan: must be a finite number"),
        ({"preset": "fast"}, "--preset fast: must be one of quality, draft, lightning"),
    ],
)
def test_what_saves_nothing_is_refused(given: dict[str, Any], line: str) -> None:
    with refused(f"^{line}"):
        made(**given)
