"""Train the miniature from nothing: `python -m tools.train_nano all`, or stage by stage. Every stage resumes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import torch
from tqdm import tqdm

from holocine_ext.presets import MODELS, VARIANTS
from tools.nano.code import FILE, fit_code, save_code
from tools.nano.export import export_expert, export_text, export_vae
from tools.nano.train_dit import BOUNDARY, Course, train_transformer
from tools.nano.train_text import train_text
from tools.nano.train_vae import train_vae
from wan2.request.model import Noise

ABLATED = {"without_window": ("full", False), "without_summary": ("apart", True)}
"""Row of the ablation -> its self-attention, and whether it has windows."""
NOISE: dict[Noise, tuple[float, float]] = {"high": (BOUNDARY, 1.0), "low": (0.0, BOUNDARY)}
# Lengths in frames of what the sparse experts are trained on: longer, so with more cuts, than before.
MANY_SHOTS = (33, 49, 65, 97)
ON_SPARSE = Course(2000, 1e-3, 0.5, seed=41, variants=("sparse",), lengths=MANY_SHOTS)
ON_HATS = replace(ON_SPARSE, steps=1500, cooldown=0.7, shots=(1, 2, 2, 2, 3, 3, 4, 4, 5, 6), hats=True)
# Two long shots find it hardest to agree on a hat, so there are more of them than chance would have.
ON_PAIRS = replace(ON_HATS, steps=1000, peak=8e-4, cooldown=0.9, seed=51, shots=(2, 2, 2, 3, 4, 5, 6))
ON_MIXED = replace(ON_PAIRS, steps=700, seed=61, mixed=True)
ON_FULL = replace(
    ON_MIXED, steps=1400, peak=1e-3, cooldown=0.8, seed=71, variants=("full",), shots=(1, *ON_MIXED.shots)
)
FURTHER = {
    "sparse": {"sparse": ON_SPARSE, "hats": ON_HATS, "pairs": ON_PAIRS, "mixed": ON_MIXED},
    "full": {"full": ON_FULL},
}
"""Variant -> the stages that its experts take by themselves, one on from the other. Seeds are the high-noise one's."""
ALONE = {stage: course for stages in FURTHER.values() for stage, course in stages.items()}
BEFORE = {stage: before for stages in FURTHER.values() for before, stage in pairwise(("experts", *stages))}
SHIPPED = {variant: list(stages)[-1] for variant, stages in FURTHER.items()}
"""Variant -> the stage whose weights it is shipped with."""
STAGES = ("vae", "text", "base", "experts", *ALONE, "export")


def main() -> None:
    """Run the stages asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "stage",
        choices=("all", *STAGES, "ablated", "code"),
        help="all but the last two, or one; code fits the linear code anew, which undoes all else",
    )
    parser.add_argument("--state", type=Path, default=Path("out/train_nano"), help="folder of the resumable states")
    parser.add_argument("--vae_steps", type=int, default=2900)
    parser.add_argument("--text_steps", type=int, default=1700)
    parser.add_argument("--base_steps", type=int, default=2532)
    parser.add_argument("--expert_steps", type=int, default=3600, help="steps of each expert after the base")
    for stage, course in ALONE.items():
        parser.add_argument(f"--{stage}_steps", type=int, default=course.steps, help="steps of each expert")
    parser.add_argument("--ablated_steps", type=int, default=300, help="steps of each ablated expert after the expert")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for stage in STAGES if args.stage == "all" else (args.stage,):
        for line in run(stage, args):
            tqdm.write(line)


def run(stage: str, args: argparse.Namespace) -> Iterator[str]:
    """One stage, as the lines it has to say."""
    state: Path = args.state
    text = state / "text.pt"
    if stage == "code":
        save_code(fit_code())
        yield f"wrote {FILE}"
    elif stage == "vae":
        yield from train_vae(state / "vae.pt", args.vae_steps)
    elif stage == "text":
        yield from train_text(text, args.text_steps)
    elif stage == "export":
        yield from export(state)
    else:
        shared = MODELS["nano"]["full"].model
        for start, path, course in courses(stage, args):
            yield from train_transformer(shared.t5 if stage == "ablated" else text, start, path, course)
            if stage == "ablated":
                export_expert(path, path.with_suffix(".safetensors"), "full" if "full" in course.variants else "sparse")


def courses(stage: str, args: argparse.Namespace) -> Iterator[tuple[Path | None, Path, Course]]:
    """What a stage trains transformers from, where to, and how."""
    state: Path = args.state
    base = state / "base.pt"
    if stage == "base":
        yield None, base, Course(args.base_steps, 1.5e-3, cooldown=0.0, seed=2)
    elif stage == "experts":
        for seed, (noise, sigmas) in enumerate(NOISE.items(), 21):
            yield base, weights(state, "experts", noise), Course(args.expert_steps, 1.2e-3, 0.4, seed, *sigmas)
    elif stage in ALONE:
        steps, course = getattr(args, f"{stage}_steps"), ALONE[stage]
        for i, (noise, (low, high)) in enumerate(NOISE.items()):
            own = replace(course, steps=steps, seed=course.seed + i, low=low, high=high)
            yield weights(state, BEFORE[stage], noise), weights(state, stage, noise), own
    else:
        for seed, (row, (noise, sigmas)) in enumerate(product(ABLATED, NOISE.items()), 31):
            self_attn, windows = ABLATED[row]
            start = shipped("full" if self_attn == "full" else "sparse", noise)
            course = Course(args.ablated_steps, 6e-4, 0.7, seed, *sigmas, variants=(self_attn,), windows=windows)
            yield start, state / f"{row}_{noise}.pt", course


def weights(state: Path, stage: str, noise: str) -> Path:
    """The state of an expert after a stage."""
    return state / (f"{noise}.pt" if stage == "experts" else f"{stage}_{noise}.pt")


def shipped(variant: str, noise: Noise) -> Path:
    """The file of an expert that the command line runs."""
    return MODELS["nano"][variant].model.expert(noise).path


def export(state: Path) -> Iterator[str]:
    """Write every checkpoint to where the command line looks for it."""
    model = MODELS["nano"]["full"].model
    export_vae(state / "vae.pt", model.vae)
    export_text(state / "text.pt", model)
    for variant, noise in product(VARIANTS, NOISE):
        path = shipped(variant, noise)
        export_expert(weights(state, SHIPPED[variant], noise), path, variant)
        yield f"wrote {path}"


if __name__ == "__main__":
    main()
