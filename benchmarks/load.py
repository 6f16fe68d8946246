"""How fast are weights loaded? `python -m benchmarks.load`: a transformer from its file, against reading the bytes.

Floor: the same bytes read into memory of their own, which costs more than the bytes do: the system hands out every page
of it. Beside it, the bytes through one buffer that is used again, and safetensors' own loader, which maps the file and
leaves the reading to whoever touches a weight first. The file is in the page cache for all, so nothing is waited for;
seconds are those the processor worked, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from benchmarks.noise import write_noise
from benchmarks.table import columns, heading, interleaved
from wan2.models.config import TransformerConfig
from wan2.weights.checkpoint import inspect_transformer, load_transformer

CONFIG = TransformerConfig(
    dim=2048, in_dim=16, ffn_dim=5504, out_dim=16, text_dim=4096, freq_dim=256, eps=1e-6,
    patch_size=(1, 2, 2), num_heads=16, num_layers=6,
)  # fmt: skip
BUFFER = 1 << 24


def read_whole(path: Path) -> torch.Tensor:
    """Every byte of a file, into memory of their own."""
    whole = torch.empty(path.stat().st_size, dtype=torch.uint8)
    view, done = whole.numpy(), 0
    with path.open("rb", buffering=0) as file:
        while done < len(view):
            done += file.readinto(view[done : done + BUFFER].data)
    return whole


def read_bytes(path: Path) -> None:
    """Every byte of a file, into one buffer."""
    buffer = memoryview(bytearray(BUFFER))
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def main() -> None:
    """Measure, and print a row a way."""
    parser = argparse.ArgumentParser(prog="benchmarks.load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.safetensors"
        write_noise(path, CONFIG.tensor_shapes())
        size = path.stat().st_size / 1e9
        ways = {
            "the bytes, into memory of their own (floor)": lambda: read_whole(path),
            "the bytes, through one buffer": lambda: read_bytes(path),
            "header only: what a refusal or a dry run reads": lambda: inspect_transformer(path),
            "load_transformer, bfloat16 as stored": lambda: load_transformer(
                inspect_transformer(path), "cpu", torch.bfloat16
            ),
            "load_transformer, to float32": lambda: load_transformer(inspect_transformer(path), "cpu", torch.float32),
            "safetensors.torch.load_file, then every byte touched": lambda: [
                t.clone() for t in load_file(path).values()
            ],
        }
        for way in ways.values():
            way()
        seconds = interleaved(ways, args.rounds, time.process_time)
    floor, *_ = seconds.values()
    rows = [["", "processor seconds", "GB/s", "over the floor"]]
    for name, took in seconds.items():
        rate = "" if name.startswith("header") else f"{size / took:.2f}"
        rows.append([name, f"{took:.3f}", rate, f"{took / floor:.2f}x"])
    rows.append(["onto any GPU", "not measured", "", ""])
    sys.stdout.write(
        heading("benchmarks.load", sys.argv[1:])
        + f"{size:.2f} GB of bfloat16, in the page cache; medians of {args.rounds}, interleaved\n\n"
        + columns(rows)
    )


if __name__ == "__main__":
    main()
