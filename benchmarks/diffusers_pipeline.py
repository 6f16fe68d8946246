"""Whole runs beside diffusers' WanPipeline on the same small weights: `python -m benchmarks.diffusers_pipeline`.

Weights, texts, seeds and the published latents are those of tests/data/wan22; fp32 on the processor; each case with
both of Wan2.2's solvers. Three latents are compared, by their norm, with the published code where its own solver is
the case's: ours, diffusers' as it comes, and diffusers' with the noise levels and timesteps of its scheduler replaced
by Wan2.2's. What remains in the last is everything but the schedule.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.machine import machine_line
from tests.conformance import padded
from wan2.models.conditioning import Conditioning
from wan2.models.transformer import WanTransformer
from wan2.request.presets import WAN22_T2V
from wan2.sampling.denoise import DenoisePlan, denoise, initial_noise
from wan2.sampling.solvers import MULTISTEP
from wan2.shapes import VideoShape
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.names import native_name

DATA = Path(__file__).parents[1] / "tests" / "data" / "wan22"
SCHEDULERS = {"unipc": diffusers.UniPCMultistepScheduler, "dpm++": diffusers.DPMSolverMultistepScheduler}


def plan_of(run: dict[str, Any], solver: str) -> DenoisePlan:
    """The path of a case, with one of the solvers."""
    low, high = run["guide"]
    model = WAN22_T2V
    return DenoisePlan(run["steps"], run["shift"], solver, model.dual_dit_boundary, high, low, model.round_timestep)


def ours(models: dict[str, WanTransformer], plan: DenoisePlan, noise: Tensor, texts: list[Tensor]) -> Tensor:
    """Latents [1, 16, F, h, w] of this code."""

    def open_expert(name: str) -> AbstractContextManager[WanTransformer]:
        return nullcontext(models[name])

    *_, last = denoise(open_expert, noise, plan, *(Conditioning(text) for text in texts))
    return last.latents


def same_in_diffusers(model: WanTransformer) -> diffusers.WanTransformer3DModel:
    """diffusers' transformer with the weights of ours."""
    config = model.config
    theirs = diffusers.WanTransformer3DModel(
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.num_layers,
    ).eval()
    weights = model.state_dict()
    theirs.load_state_dict({name: weights[native_name(name)] for name in theirs.state_dict()})
    return theirs


def theirs(
    models: dict[str, Any], plan: DenoisePlan, run: dict[str, Any], noise: Tensor, texts: list[Tensor], replaced: bool
) -> tuple[Tensor, Any]:
    """Latents of diffusers' pipeline, and its scheduler; `replaced`: with the levels and timesteps of `plan`."""
    scheduler = SCHEDULERS[plan.solver](
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=plan.shift, final_sigmas_type="zero"
    )
    own = scheduler.set_timesteps

    def set_timesteps(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        own(*args, **kwargs)
        if replaced:
            scheduler.sigmas = torch.tensor([*plan.sigmas, 0.0])
            scheduler.timesteps = torch.tensor(plan.timesteps).long()

    scheduler.set_timesteps = set_timesteps
    pipeline = diffusers.WanPipeline(
        None, None, None, scheduler, models["high"], models["low"], boundary_ratio=plan.boundary
    )
    pipeline.set_progress_bar_config(disable=True)
    width, height = run["size"]
    found = pipeline(
        prompt_embeds=texts[0], negative_prompt_embeds=texts[1], latents=noise, output_type="latent", width=width,
        height=height, num_frames=run["frames"], num_inference_steps=plan.infer_steps,
        guidance_scale=plan.guidance_scale_high_noise, guidance_scale_2=plan.guidance_scale,
    ).frames  # fmt: skip
    return found, scheduler


def off(found: Tensor, expected: Tensor) -> float:
    """How far latents are off, as a share of the norm of the expected ones."""
    return float((found - expected).norm() / expected.norm())


def row(number: int, run: dict[str, Any], solver: str, models: dict[str, Any], twins: dict[str, Any]) -> str:
    """A line of the table: one case with one solver."""
    tensors, plan = load_file(DATA / "runs.safetensors"), plan_of(run, solver)
    texts = [padded(tensors[f"{number}.{which}"]) for which in ("positive", "negative")]
    width, height = run["size"]
    noise = initial_noise((1, *VideoShape(run["frames"], height, width).latent), run["seed"])
    mine = ours(models, plan, noise, texts)
    as_it_comes, scheduler = theirs(twins, plan, run, noise, texts, replaced=False)
    replaced, _ = theirs(twins, plan, run, noise, texts, replaced=True)
    levels = max(abs(a - b) for a, b in zip(scheduler.sigmas.tolist(), plan.sigmas, strict=False))
    times = max(abs(a - b) for a, b in zip(scheduler.timesteps.tolist(), plan.timesteps, strict=True))
    published = f"{off(mine, tensors[f'{number}.latents'][None]):9.1e}" if solver == run["solver"] else f"{'-':>9}"
    return (
        f"{solver:6} {run['steps']:5} {run['shift']:6g} {width:4}x{height:<3} {published}  "
        f"{off(as_it_comes, mine):9.1e}  {levels:7.4f} {times:9.0f}  {off(replaced, mine):9.1e}"
    )


def main() -> int:
    """Print the table."""
    with torch.inference_mode():
        models = {
            name: load_transformer(inspect_transformer(DATA / f"dit_{name}_noise.safetensors"), "cpu", torch.float32)
            for name in ("high", "low")
        }
        twins = {name: same_in_diffusers(model) for name, model in models.items()}
        sys.stdout.write(f"{machine_line()}, diffusers {diffusers.__version__}\n\n")
        sys.stdout.write("                              ours and  diffusers, as it comes:        diffusers with\n")
        sys.stdout.write("solver steps  shift     size published  and ours   levels timesteps  Wan2.2's levels\n")
        for number, run in enumerate(json.loads((DATA / "runs.json").read_text(encoding="utf-8"))):
            for solver in MULTISTEP:
                sys.stdout.write(row(number, run, solver, models, twins) + "\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
