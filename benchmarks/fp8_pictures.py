"""What fp8 does to pictures: `python -m benchmarks.fp8_pictures` makes scenes of the miniature with and without it.

The scenes, seeds and readings are those of `benchmarks.nano_control`; beside them stands how far the pixels moved from
those of the run without fp8, as a peak signal-to-noise ratio. Only two of nano's six blocks go to fp8 (36 of 40 would).
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.nano_control import generate, held_out, score, table, write_storyboards
from benchmarks.table import heading
from wan2.run.video_io import read_video

ROWS = {
    "float32": [],
    "bfloat16": ["--dtype", "bfloat16"],
    "fp8_scaled": ["--fp8_scaled"],
    "fp8_fast": ["--fp8_fast"],
    "fp8_scaled fp8_t5": ["--fp8_scaled", "--fp8_t5"],
}


def psnr(films: list[NDArray[np.uint8]], exact: list[NDArray[np.uint8]]) -> float:
    """Decibels over all pixels of all films; infinite when they are the same."""
    squares = [((a.astype(float) - b) ** 2).mean() for a, b in zip(films, exact, strict=True)]
    error = float(np.mean(squares))
    return 10 * math.log10(255**2 / error) if error else math.inf


def main() -> None:
    """Make, read, compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--variant", default="full")
    parser.add_argument("--out", type=Path, default=Path("out/fp8_pictures"))
    args = parser.parse_args()
    scenes = held_out(args.scenes)
    listing = write_storyboards(scenes, args.out)
    films: dict[str, list[NDArray[np.uint8]]] = {}
    scores = []
    for row, options in ROWS.items():
        folder = args.out / row.replace(" ", "_")
        films[row] = [
            read_video(path) for path in generate(listing, args.variant, folder, ["--device", "cpu", *options])
        ]
        scores.append(score(row, scenes, films[row]))
    moved = [f"{row:18} {psnr(films[row], films['float32']):6.1f} dB" for row in list(ROWS)[1:]]
    told = f"{len(scenes)} scenes of nano, {args.variant}, on the processor"
    lines = [told, "", table(scores), "", "pixels against float32", *moved]
    sys.stdout.write(heading("benchmarks.fp8_pictures", sys.argv[1:]) + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
