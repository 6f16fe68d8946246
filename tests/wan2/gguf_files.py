"""GGUF files as other programs write them, with the library that defines the format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from gguf.quants import dequantize, quantize
from torch import Tensor

from wan2.models.forms import BLOCKS

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


def packed(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor | tuple[str, np.ndarray]]:
    """The tensors with every matrix in a type that its rows suit, all else as it is: what converters do."""
    values = BLOCKS[kind].values
    return {
        name: (kind, blocks_of(kind, tensor, seed)) if tensor.dim() == 2 and tensor.shape[1] % values == 0 else tensor
        for seed, (name, tensor) in enumerate(tensors.items())
    }


def values_in(tensors: Mapping[str, Tensor | tuple[str, np.ndarray]]) -> dict[str, Tensor]:
    """The tensors of a file in fp32."""
    return {n: tensor.float() if isinstance(tensor, Tensor) else values_of(*tensor) for n, tensor in tensors.items()}


LLAMA_NAMES = (
    ("token_embedding.", "token_embd."),
    ("norm.", "enc.output_norm."),
    ("blocks.", "enc.blk."),
    (".norm1.", ".attn_norm."),
    (".norm2.", ".ffn_norm."),
    (".attn.", ".attn_"),
    (".pos_embedding.embedding.", ".attn_rel_b."),
    (".ffn.gate.0.", ".ffn_gate."),
    (".ffn.fc1.", ".ffn_up."),
    (".ffn.fc2.", ".ffn_down."),
)


def in_llama(name: str) -> str:
    """What llama.cpp calls a tensor of the text encoder."""
    for published, llama in LLAMA_NAMES:
        if name.startswith(published) or published.startswith("."):
            name = name.replace(published, llama)
    return name


def write_gguf(
    path: Path,
    tensors: Mapping[str, Tensor | tuple[str, np.ndarray]],
    notes: Mapping[str, str] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    arch: str = "wan",
) -> Path:
    """A file of tensors: of a float type, or a type and its bytes [rows, ...].

    shapes: those that tensors had before they were reshaped.
    """
    writer = GGUFWriter(path, arch)
    for name, text in (notes or {}).items():
        writer.add_string(name, text)
    for name, shape in (shapes or {}).items():
        writer.add_array(f"comfy.gguf.orig_shape.{name}", list(shape))
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            writer.add_tensor(name, tensor[1], raw_dtype=Type[tensor[0]])
        elif tensor.dtype == torch.bfloat16:
            writer.add_tensor(name, quantize(tensor.float().numpy(), Type.BF16).view(np.uint8), raw_dtype=Type.BF16)
        else:
            writer.add_tensor(name, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
