"""What does merging a LoRA take? `python -m benchmarks.lora`: a block of the 14B shape, read with LoRAs and without.

The block is of noise and lies in the page cache; so do the LoRAs, of every linear. This is what a streamed block costs
on the host each time it is read from the disk, and a resident one once. In processor time, which other work on the
machine disturbs the least.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time

import torch

from benchmarks.noise import write_noise
from benchmarks.table import columns, heading, interleaved
from wan2.models.config import A14B
from wan2.models.forms import as_fp8
from wan2.streaming.layout import BlockFile, block_layout
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.fp8 import WEIGHT, linears
from wan2.weights.sources import Lora

ONE = replace(A14B, num_layers=1)
RANKS = (32, 64, 256)


def lora_shapes(rank: int) -> dict[str, tuple[int, ...]]:
    """A LoRA of every linear of the block."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in linears(ONE):
        rows, inner = ONE.block_shapes()[name]
        module = f"diffusion_model.blocks.0.{name.removesuffix(WEIGHT)}"
        shapes |= {f"{module}.lora_down.weight": (rank, inner), f"{module}.lora_up.weight": (rows, rank)}
    return shapes


def reading(path: Path, loras: list[Lora], fp8: bool) -> Callable[[], None]:
    """What reads the block into memory that is there."""
    layout = block_layout(ONE, torch.bfloat16, frozenset(as_fp8(linears(ONE) if fp8 else ()).items()))
    source = BlockFile(inspect_transformer(path, loras), [layout])
    return partial(source.read, 0, torch.empty(layout.nbytes, dtype=torch.uint8))


def main() -> None:
    """Write the files, measure, print a row a way of reading."""
    parser = argparse.ArgumentParser(prog="benchmarks.lora", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.safetensors")
        write_noise(path, ONE.tensor_shapes())
        loras = {rank: Lora(Path(folder, f"{rank}.safetensors"), 1.0) for rank in RANKS}
        for rank, lora in loras.items():
            write_noise(lora.path, lora_shapes(rank))
        given = {"no LoRA": [], **{f"one of rank {rank}": [lora] for rank, lora in loras.items()}}
        given["two of rank 64"] = [loras[64]] * 2
        with torch.inference_mode():
            plain, fp8 = (
                interleaved(
                    {name: reading(path, some, held) for name, some in given.items()}, args.rounds, process_time
                )
                for held in (False, True)
            )
    rows = [("a block of 14B, read and merged", "to bfloat16, s", "to fp8, s")]
    rows += [(name, f"{plain[name]:.2f}", f"{fp8[name]:.2f}") for name in given]
    sys.stdout.write(heading("benchmarks.lora", sys.argv[1:]))
    sys.stdout.write(f"processor time, medians of {args.rounds}, interleaved; files in bfloat16\n\n{columns(rows)}")


if __name__ == "__main__":
    main()
