"""Transformers of six blocks, of which fp8 takes the two in the middle, and files of them in other types."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.wan2.reference import CONFIG, DATA
from wan2.errors import InputError
from wan2.models.fp8 import check_fast
from wan2.weights.fp8 import linears


def has_product() -> bool:
    try:
        check_fast(torch.device("cpu"))
    except InputError:
        return False
    return True


needs_product = pytest.mark.skipif(not has_product(), reason="this PyTorch multiplies no fp8 on a processor")
SIX = replace(CONFIG, num_layers=6)
FOUR_HEADS = {"num_heads": "4"}


def six_blocks(noise: str) -> dict[str, Tensor]:
    """The reference transformer with its blocks twice over, the second time a little different."""
    stored = load_file(DATA / f"dit_{noise}_noise.safetensors")
    again = {
        name.replace(f"blocks.{i}.", f"blocks.{i + 3}."): tensor * 0.9
        for i in range(3)
        for name, tensor in stored.items()
        if name.startswith(f"blocks.{i}.")
    }
    return stored | again


def write(path: Path, tensors: dict[str, Tensor], dtype: torch.dtype = torch.bfloat16) -> Path:
    """A file of the tensors, those in fp32 in `dtype`."""
    cast = {n: t.to(dtype) if t.dtype == torch.float32 and "scale" not in n else t for n, t in tensors.items()}
    save_file(cast, path, FOUR_HEADS | {"made_by": "a test"})
    return path


def scaled(
    tensors: dict[str, Tensor], rows: bool = False, dtype: torch.dtype = torch.float8_e4m3fn
) -> dict[str, Tensor]:
    """The same with every linear of every block in scaled fp8, as other programs write it."""
    made: dict[str, Tensor] = dict(tensors) | {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}
    for name in (f"blocks.{index}.{linear}" for index in range(6) for linear in linears(SIX)):
        largest = tensors[name].abs().amax(1, keepdim=True) if rows else tensors[name].abs().amax()
        scale = largest / torch.finfo(dtype).max
        made[name] = (tensors[name] / scale).to(dtype)
        made[name.replace("weight", "scale_weight")] = scale.clone()
    return made
