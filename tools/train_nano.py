"""Train models/nano from nothing: `python -m tools.train_nano all`, or stage by stage. Every stage resumes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from holocine_ext.presets import MODELS, VARIANTS
from tools.nano.export import export_expert, export_text, export_vae
from tools.nano.train_dit import LENGTHS, Course, train_base, train_expert
from tools.nano.train_vae import train_vae

STAGES = ("vae", "base", "experts", "joined", "export")
EXPERTS = [(variant, noise) for variant in VARIANTS for noise in ("high", "low")]


def main() -> None:
    """Run the stages asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("stage", choices=("all", *STAGES))
    parser.add_argument("--state", type=Path, default=Path("out/train_nano"), help="folder of the resumable states")
    parser.add_argument("--vae_steps", type=int, default=2900)
    parser.add_argument("--base_steps", type=int, default=2532)
    parser.add_argument("--high_steps", type=int, default=300, help="steps of each high-noise expert after the base")
    parser.add_argument("--low_steps", type=int, default=450, help="steps of each low-noise expert after the base")
    parser.add_argument(
        "--joined_steps", type=int, default=560, help="steps of each expert from the mean of both variants'"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for stage in STAGES if args.stage == "all" else (args.stage,):
        for line in run(stage, args):
            tqdm.write(line)


def run(stage: str, args: argparse.Namespace) -> Iterator[str]:
    """One stage, as the lines it has to say."""
    state: Path = args.state
    if stage == "vae":
        yield from train_vae(state / "vae.pt", args.vae_steps)
    elif stage == "base":
        yield from train_base(state / "base.pt", args.base_steps)
    elif stage == "experts":
        for variant, noise in EXPERTS:
            steps = args.high_steps if noise == "high" else args.low_steps
            course = Course(steps, 1e-3, cooldown=0.8, lengths=LENGTHS, seed=3)
            path = state / f"{variant}_{noise}.pt"
            yield from train_expert(state / "base.pt", [state / "base.pt"], path, [variant], noise, course)
    elif stage == "joined":
        for noise in ("high", "low"):
            course = Course(args.joined_steps, 1.2e-3, cooldown=0.7, lengths=(33, 33, 33, 49), seed=11)
            starts = [state / f"{variant}_{noise}.pt" for variant in VARIANTS]
            yield from train_expert(state / "base.pt", starts, state / f"{noise}.pt", VARIANTS, noise, course)
    else:
        yield from export(state)


def export(state: Path) -> Iterator[str]:
    """Write every checkpoint to where the command line looks for it."""
    files = MODELS["nano"]["full"].files
    export_vae(state / "vae.pt", files.vae)
    export_text(state / "base.pt", files)
    for variant, noise in EXPERTS:
        experts = MODELS["nano"][variant].files
        path = experts.dit_high_noise if noise == "high" else experts.dit_low_noise
        export_expert(state / f"{noise}.pt", path, variant)
        yield f"wrote {path}"


if __name__ == "__main__":
    main()
