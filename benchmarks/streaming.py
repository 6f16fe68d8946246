"""What does streaming cost? `python -m benchmarks.streaming`: steps with all blocks resident, some and all streamed.

A transformer of 12 blocks, 1024 wide, random, from a file in the page cache. The floor of reading is the bytes of the
streamed blocks, once a step; the results are compared bit for bit. Seconds are those the processor worked, the reading
thread included: on a processor reading hides behind nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.noise import write_noise
from benchmarks.table import columns, heading, interleaved
from wan2.models.conditioning import Conditioning
from wan2.models.config import TransformerConfig
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.streaming.residency import spread, weight_bytes
from wan2.streaming.ring import StreamedTransformer
from wan2.weights.checkpoint import inspect_transformer

CONFIG = TransformerConfig(
    dim=1024, in_dim=16, ffn_dim=2752, out_dim=16, text_dim=1024, freq_dim=256, eps=1e-6,
    patch_size=(1, 2, 2), num_heads=8, num_layers=12,
)  # fmt: skip
CPU, DTYPE = torch.device("cpu"), torch.bfloat16
SIZE = (4, 32, 32)
TEXT = 128
MANY = 1000


def main() -> None:
    """Measure, and print a row for each number of streamed blocks."""
    parser = argparse.ArgumentParser(prog="benchmarks.streaming", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    latents = torch.randn(1, CONFIG.in_dim, *SIZE, generator=torch.Generator().manual_seed(2))
    passes = [Conditioning(torch.full((1, TEXT, CONFIG.text_dim), value, dtype=DTYPE)) for value in (0.1, -0.1)]
    counts = (0, 4, CONFIG.num_layers)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, torch.inference_mode():
        path = Path(folder) / "noise.safetensors"
        write_noise(path, CONFIG.tensor_shapes())
        models = {}
        for count in counts:
            load = stack.enter_context(
                transformers(
                    [Phase("high", inspect_transformer(path), MANY)],
                    Placement(CPU, DTYPE, streamed=count),
                )
            )
            models[count] = load("high")
        made: dict[int, list[Tensor]] = {}

        def step(count: int) -> None:
            made[count] = models[count].passes(latents, torch.tensor(900.0), passes)

        for count in counts:
            step(count)
        before = {count: read(models[count]) for count in counts}
        ways = {str(count): lambda count=count: step(count) for count in counts}
        seconds = interleaved(ways, args.rounds, time.process_time)
        table = [["blocks streamed", "seconds a step", "over resident", "read a step, MB", "floor", "ratio", "bits"]]
        blocks = weight_bytes(CONFIG, DTYPE.itemsize).blocks
        for count in counts:
            floor = sum(blocks[index] for index in spread(count, CONFIG.num_layers)) / 1e6
            got = (read(models[count]) - before[count]) / args.rounds / 1e6
            same = all(torch.equal(a, b) for a, b in zip(made[count], made[0], strict=True))
            times = seconds[str(count)], seconds[str(count)] / seconds["0"]
            cells = [
                f"{times[0]:.3f}",
                f"{times[1]:.2f}x",
                f"{got:.1f}",
                f"{floor:.1f}",
                f"{got / floor:.2f}" if floor else "",
            ]
            table.append([f"{count} of {CONFIG.num_layers}", *cells, "equal" if same else "DIFFERENT"])
    table.append(["40 of 40, 14B, H200", "not measured", "", "", "", "", ""])
    tokens = SIZE[0] * SIZE[1] * SIZE[2] // 4
    sys.stdout.write(
        heading("benchmarks.streaming", sys.argv[1:])
        + f"{CONFIG.num_layers} blocks, {CONFIG.dim} wide, bfloat16, {tokens} tokens, two passes; medians of\n"
        f"{args.rounds}, interleaved, of seconds that the processor worked, the reading thread included\n\n"
        + columns(table)
    )


def read(model: torch.nn.Module) -> int:
    """Bytes that a model has read for its blocks so far."""
    return model.file.bytes_read if isinstance(model, StreamedTransformer) else 0


if __name__ == "__main__":
    main()
