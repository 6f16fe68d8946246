"""GGUF files as other programs write them, with the library that defines the format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from gguf.quants import dequantize, quant_shape_to_byte_shape, quantize
from torch import Tensor

LEGACY = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
"""What the library quantises to; of the others it only knows the way back."""
K_TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
# Where the half-precision numbers of a block are; all other bytes may be anything.
HALVES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def blocks_of(kind: str, values: Tensor, seed: int = 0) -> np.ndarray:
    """A matrix as bytes [rows, ...] of a type: quantised, or sound random blocks of about its size."""
    if kind not in K_TYPES:
        return quantize(values.float().numpy(), Type[kind]).view(np.uint8).reshape(len(values), -1)
    rng = np.random.default_rng(seed)
    size, nbytes = gguf.constants.GGML_QUANT_SIZES[Type[kind]]
    blocks = rng.integers(0, 256, (values.numel() // size, nbytes), dtype=np.uint8)
    for at in HALVES[kind]:
        scale = rng.uniform(0.5, 1.5, len(blocks)) * float(values.abs().mean()) / 500
        blocks[:, at : at + 2] = scale.astype(np.float16)[:, None].view(np.uint8)
    return blocks.reshape(len(values), -1)


def values_of(kind: str, blocks: np.ndarray) -> Tensor:
    """What the library makes of bytes [rows, ...]: fp32."""
    return torch.from_numpy(dequantize(blocks, Type[kind]).astype(np.float32))


def write_gguf(
    path: Path, tensors: Mapping[str, Tensor | tuple[str, np.ndarray]], notes: Mapping[str, str], arch: str = "wan"
) -> Path:
    """A file of tensors: of a float type, or a type and its bytes [rows, ...]."""
    writer = GGUFWriter(path, arch)
    for name, text in notes.items():
        writer.add_string(name, text)
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and tensor.dtype != torch.bfloat16:
            writer.add_tensor(name, tensor.contiguous().numpy())
            continue
        kind, data = ("BF16", quantize(tensor.float().numpy(), Type.BF16)) if isinstance(tensor, Tensor) else tensor
        writer.add_tensor(name, data.view(np.uint8).reshape(len(data), -1), raw_dtype=Type[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def bytes_of_shape(kind: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the bytes of a tensor."""
    return quant_shape_to_byte_shape(shape, Type[kind])
