"""What do fewer passes cost? `python -m benchmarks.fewer_passes` puts the miniature through each way of saving some.

The same held-out scenes and the same reader as `benchmarks.nano_control`; beside the facts, how often a transformer was
run for a scene, and the seconds of denoising, by the records of the runs, and how far the latents are from those of
every pass. Rows of fewer steps stand for comparison: what saves passes must stay nearer than they do.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

import torch
from torch import Tensor

from benchmarks.nano_control import Score, generate, held_out, score, write_storyboards
from benchmarks.table import columns, heading
from holocine_ext.evaluate.nano_world.captions import FACTS
from wan2.run.latents import load_latents
from wan2.run.video_io import read_video

ROWS: dict[str, list[str]] = {
    "every pass": [],
    "--infer_steps 15": ["--infer_steps", "15"],
    "--infer_steps 10": ["--infer_steps", "10"],
    "--cfg_skip 0.3": ["--cfg_skip", "0.3"],
    "--cfg_skip 0.5": ["--cfg_skip", "0.5"],
    "--step_cache 0.05": ["--step_cache", "0.05"],
    "--step_cache 0.1": ["--step_cache", "0.1"],
    "--step_cache 0.2": ["--step_cache", "0.2"],
    "--preset draft": ["--preset", "draft"],
}


def distance(latents: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """Root mean square of the difference, in deviations of the exact latents."""
    one, other = torch.stack(list(latents)), torch.stack(list(exact))
    return ((one - other).square().mean().sqrt() / other.std()).item()


def line(row: str, found: Score, records: Sequence[dict], off: float) -> list[str]:
    """One row of the table."""
    passes, seconds = ([record["passes"] for record in records], [record["seconds"]["Denoising"] for record in records])
    facts = [found.cuts, *found.facts.values(), found.hat]
    return [row, f"{fmean(passes):.1f}", f"{median(seconds):.2f}", f"{off:.3f}", *(f"{value:.3f}" for value in facts)]


def main() -> None:
    """Make, read and print, a row at a time."""
    parser = argparse.ArgumentParser(prog="benchmarks.fewer_passes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--variant", choices=("full", "sparse"), default="sparse")
    parser.add_argument("--out", type=Path, default=Path("out/fewer_passes"))
    args = parser.parse_args()
    scenes = held_out(args.scenes)
    listing = write_storyboards(scenes, args.out)
    exact: list[Tensor] = []
    rows = [["", "passes", "seconds", "latents off", "cuts", *FACTS, "hat kept"]]
    for number, (row, options) in enumerate(ROWS.items()):
        folder = args.out / f"row_{number}"
        for path in folder.glob("*"):
            path.unlink()
        videos = generate(listing, args.variant, folder, [*options, "--output_type", "both"])
        latents = [load_latents(video.with_suffix(".safetensors")) for video in videos]
        exact = exact or latents
        records = [json.loads(video.with_suffix(".json").read_text(encoding="utf-8")) for video in videos]
        found = score(row, scenes, [read_video(video) for video in videos])
        rows.append(line(row, found, records, distance(latents, exact)))
        sys.stderr.write(f"{'  '.join(rows[-1])}\n")
    shots = sum(len(scene.shots) for scene in scenes)
    sys.stdout.write(
        heading("benchmarks.fewer_passes", sys.argv[1:])
        + f"nano, {args.variant}: {len(scenes)} held-out scenes, {shots} shots a row; passes of a transformer and\n"
        "seconds of denoising a scene (mean, median); shares that are as asked\n\n" + columns(rows)
    )


if __name__ == "__main__":
    main()
