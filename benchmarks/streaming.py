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
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch

from benchmarks.noise import write_noise
from benchmarks.table import columns, heading, interleaved
from wan2.models.conditioning import Conditioning
from wan2.models.config import TransformerConfig
from wan2.models.transformer import WanTransformer
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
TIMESTEP = torch.tensor(900.0)


def main() -> None:
    """Measure, and print a row for each number of streamed blocks."""
    parser = argparse.ArgumentParser(prog="benchmarks.streaming", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, torch.inference_mode():
        path = Path(folder) / "noise.safetensors"
        write_noise(path, CONFIG.tensor_shapes())
        models = {count: stack.enter_context(streamed(path, count)) for count in (0, 4, CONFIG.num_layers)}
        table = measure(models, args.rounds)
    table.append(["40 of 40, 14B, H200", "not measured", "", "", "", "", ""])
    tokens = SIZE[0] * SIZE[1] * SIZE[2] // 4
    sys.stdout.write(
        heading("benchmarks.streaming", sys.argv[1:])
        + f"{CONFIG.num_layers} blocks, {CONFIG.dim} wide, bfloat16, {tokens} tokens, two passes; medians of\n"
        f"{args.rounds}, interleaved, of seconds that the processor worked, the reading thread included\n\n"
        + columns(table)
    )


@contextmanager
def streamed(path: Path, count: int) -> Iterator[WanTransformer]:
    """The transformer of a file, so many of its blocks streamed."""
    phases = [Phase("high", inspect_transformer(path), MANY)]
    with transformers(phases, Placement(CPU, DTYPE, streamed=count)) as load:
        yield load("high")


def measure(models: Mapping[int, WanTransformer], rounds: int) -> list[list[str]]:
    """A heading, and a row for each number of streamed blocks; the first must be none."""
    latents = torch.randn(1, CONFIG.in_dim, *SIZE, generator=torch.Generator().manual_seed(2))
    passes = [Conditioning(torch.full((1, TEXT, CONFIG.text_dim), value, dtype=DTYPE)) for value in (0.1, -0.1)]
    ways = {str(count): partial(model.passes, latents, TIMESTEP, passes) for count, model in models.items()}
    made = [way() for way in ways.values()]
    before = [read(model) for model in models.values()]
    seconds = interleaved(ways, rounds, time.process_time)
    rows = [["blocks streamed", "seconds a step", "over resident", "read a step, MB", "floor", "ratio", "bits"]]
    for (count, model), velocities, read_before in zip(models.items(), made, before, strict=True):
        same = all(torch.equal(a, b) for a, b in zip(velocities, made[0], strict=True))
        taken, resident = seconds[str(count)], seconds["0"]
        cells = [f"{count} of {CONFIG.num_layers}", f"{taken:.3f}", f"{taken / resident:.2f}x"]
        reading = _reading(count, (read(model) - read_before) / rounds)
        rows.append([*cells, *reading, "equal" if same else "DIFFERENT"])
    return rows


def _reading(count: int, nbytes: float) -> list[str]:
    """What was read in a step, what must be, and the ratio."""
    blocks = weight_bytes(CONFIG, DTYPE.itemsize).blocks
    floor = sum(blocks[index] for index in spread(count, CONFIG.num_layers))
    return [f"{nbytes / 1e6:.1f}", f"{floor / 1e6:.1f}", f"{nbytes / floor:.2f}" if floor else ""]


def read(model: WanTransformer) -> int:
    """Bytes that a model has read for its blocks so far."""
    return model.file.bytes_read if isinstance(model, StreamedTransformer) else 0


if __name__ == "__main__":
    main()
