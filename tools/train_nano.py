"""Train models/nano from nothing: `python -m tools.train_nano all`, or stage by stage. Every stage resumes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
from tqdm import tqdm

from holocine_ext.presets import MODELS, VARIANTS
from tools.nano.code import FILE, fit_code, save_code
from tools.nano.export import export_expert, export_text, export_vae
from tools.nano.train_dit import BOUNDARY, Course, train_transformer
from tools.nano.train_text import train_text
from tools.nano.train_vae import train_vae

STAGES = ("vae", "text", "base", "experts", "sparse", "export")
ABLATED = {"without_window": ("full", False), "without_summary": ("apart", True)}
"""Row of the ablation -> its self-attention, and whether it has windows."""
# Lengths in frames of what the sparse experts are trained on: longer, so with more cuts, than before.
MANY_SHOTS = (33, 49, 65, 97)
NOISE = {"high": (BOUNDARY, 1.0), "low": (0.0, BOUNDARY)}


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
    parser.add_argument("--sparse_steps", type=int, default=2000, help="steps of each expert of the sparse variant")
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
        for start, path, course in courses(stage, args):
            yield from train_transformer(text, start, path, course)
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
            yield base, weights(state, "full", noise), Course(args.expert_steps, 1.2e-3, 0.4, seed, *sigmas)
    elif stage == "sparse":
        for seed, (noise, sigmas) in enumerate(NOISE.items(), 41):
            course = Course(args.sparse_steps, 1e-3, 0.5, seed, *sigmas, ("sparse",), MANY_SHOTS)
            yield weights(state, "full", noise), weights(state, "sparse", noise), course
    else:
        for seed, (row, (noise, sigmas)) in enumerate(product(ABLATED, NOISE.items()), 31):
            self_attn, windows = ABLATED[row]
            start = weights(state, "full" if self_attn == "full" else "sparse", noise)
            course = Course(args.ablated_steps, 6e-4, 0.7, seed, *sigmas, variants=(self_attn,), windows=windows)
            yield start, state / f"{row}_{noise}.pt", course


def weights(state: Path, variant: str, noise: str) -> Path:
    """The state of an expert: the full ones come first, the sparse ones grow from them."""
    return state / (f"{noise}.pt" if variant == "full" else f"{variant}_{noise}.pt")


def export(state: Path) -> Iterator[str]:
    """Write every checkpoint to where the command line looks for it."""
    files = MODELS["nano"]["full"].files
    export_vae(state / "vae.pt", files.vae)
    export_text(state / "text.pt", files)
    for variant, noise in product(VARIANTS, NOISE):
        experts = MODELS["nano"][variant].files
        path = experts.dit_high_noise if noise == "high" else experts.dit_low_noise
        export_expert(weights(state, variant, noise), path, variant)
        yield f"wrote {path}"


if __name__ == "__main__":
    main()
