"""Checkpoints of the published names and shapes, filled with noise of a plausible size.

One tile of normal numbers, repeated from another offset for every tensor; norms are ones. So figures of memory and
reading are real, the video would not be. Never more than a tile is held in memory.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import torch

TILE = 1 << 24
DEVIATION = 0.014
DTYPE = torch.bfloat16


def write_noise(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A safetensors file of those tensors in bfloat16, in that order."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * DTYPE.itemsize
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = torch.randn(2 * TILE, generator=torch.Generator().manual_seed(1)) * DEVIATION
    tile = noise.to(DTYPE).view(torch.uint8).numpy()
    ones = torch.ones(TILE // 16, dtype=DTYPE).view(torch.uint8).numpy()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, (name, shape) in enumerate(shapes.items()):
            left = math.prod(shape) * DTYPE.itemsize
            is_norm = "norm" in name and name.endswith("weight") or name.endswith(".gamma")
            source = ones if is_norm else tile[number * 4096 :][: len(tile) // 2]
            while left:
                left -= file.write(source[: min(left, len(source))])
