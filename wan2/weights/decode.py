"""Bytes of a file into a tensor: dtype, shape and scale applied, in one place. Knows nothing of files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wan2.models.forms import BLOCKS
from wan2.models.fp8 import FP8, quantise_rows
from wan2.models.ggml import multiply_out
from wan2.models.int8 import multiply_out as turn_back
from wan2.weights.dtypes import DTYPES

TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, dtype.torch) for name, dtype in DTYPES.items()}
"""The dtypes of PyTorch by the names that the safetensors format gives them."""


def decode(memory: Tensor, dtype: str, shape: Sequence[int]) -> Tensor:
    """The tensor whose bytes `memory`, uint8 [n], holds: a view of them, a copy where they are not aligned; of a type
    of GGUF its values in fp32.
    """
    if dtype in BLOCKS:
        return file_tensor(memory, dtype, shape).on(memory.device)
    kind = TORCH_DTYPES[dtype]
    return view_at(memory if memory.storage_offset() % kind.itemsize == 0 else memory.clone(), 0, kind, shape)


def view_at(memory: Tensor, start: int, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """The tensor in `memory`, uint8 [n], from byte `start` on: a view, not a copy."""
    return memory[start : start + math.prod(shape) * dtype.itemsize].view(dtype).view(tuple(shape))


@dataclass(frozen=True)
class ScaledTensor:
    """A tensor as its file holds it, and the scale by which it must be multiplied, if it has one.

    stored: of any dtype of the file. scale: fp32 [1], or [rows] with one number for each row. turned: columns of a
    group that ConvRot turned before they became int8, 0 for none.
    """

    stored: Tensor
    scale: Tensor | None = None
    turned: int = 0

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor."""
        return self.stored.shape

    def on(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
        """The values on a device; without a copy when neither device nor dtype differ and there is no scale.

        dtype: None keeps that of the file; a scaled tensor then becomes fp32. The product is computed in fp32.
        """
        values = self.stored.to(device)
        if self.scale is None:
            return values if dtype is None else values.to(dtype)
        scale = self.scale.reshape(-1, *[1] * (values.dim() - 1)).to(device)
        if self.turned:
            return turn_back(values, scale, self.turned, dtype or torch.float32)
        return (values.float() * scale).reshape(values.shape).to(dtype or torch.float32)

    def copy_to(self, out: Tensor) -> None:
        """Write the values that `on` gives, in the dtype of `out`, into it; without another copy unless scaled."""
        out.copy_(self.stored if self.scale is None else self.on(out.device, out.dtype))

    def in_fp8(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """A matrix in fp8 on a device, as stored or quantised there: e4m3 [rows, columns], fp32 scales [rows, 1].

        If a row contains inf or NaN, its scale is not finite either.
        """
        if self.stored.dtype == FP8:
            scale = torch.ones(1, device=self.stored.device) if self.scale is None else self.scale
            return self.stored.to(device), scale.expand(self.shape[0]).clone().to(device)[:, None]
        values = self.on(device)
        rows = quantise_rows(values if values.dtype == torch.bfloat16 else values.float())
        return rows.values, rows.scale

    def copy_held_to(self, stored: Tensor, scale: Tensor) -> None:
        """Write what `in_fp8` gives into e4m3 [rows, columns] and fp32 [rows, 1]; int8 as it is."""
        if stored.dtype == torch.int8:
            assert self.scale is not None
            stored.copy_(self.stored)
            scale.copy_(self.scale.reshape(-1, 1))
            return
        for out, values in zip((stored, scale), self.in_fp8(stored.device), strict=True):
            out.copy_(values)

    def rows(self, index: Tensor) -> ScaledTensor:
        """Some rows of a table; no other row is read."""
        if self.scale is None or self.scale.numel() == 1:
            return replace(self, stored=self.stored[index])
        return replace(self, stored=self.stored[index], scale=self.scale[index])


@dataclass(frozen=True)
class BlockTensor:
    """A tensor in a type of GGUF, as its file holds it: `blocks`, uint8 [n, bytes of a block]."""

    blocks: Tensor
    kind: str
    shape: torch.Size

    def on(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
        """The values on a device, multiplied out there; in fp32 if no dtype is given."""
        return multiply_out(self.blocks.to(device), self.kind, dtype or torch.float32).view(self.shape)

    def copy_to(self, out: Tensor) -> None:
        """Write the values that `on` gives, in the dtype of `out`, into it."""
        out.copy_(self.on(out.device, out.dtype))

    def copy_held_to(self, stored: Tensor) -> None:
        """Write a matrix as it is held, uint8 [rows, bytes of a row]."""
        stored.copy_(self.blocks.view(stored.shape))

    def rows(self, index: Tensor) -> BlockTensor:
        """Some rows of a table; no other row is read."""
        blocks = self.blocks.unflatten(0, (self.shape[0], -1))[index].flatten(0, 1)
        return BlockTensor(blocks, self.kind, torch.Size((len(index), *self.shape[1:])))


FileTensor = ScaledTensor | BlockTensor
"""A tensor as its file holds it."""


def file_tensor(
    memory: Tensor, dtype: str, shape: Sequence[int], scale: Tensor | None = None, turned: int = 0
) -> FileTensor:
    """The tensor whose bytes `memory`, uint8 [n], holds; with its scale and how it was turned, as `ScaledTensor`."""
    if dtype in BLOCKS:
        return BlockTensor(memory.view(-1, BLOCKS[dtype].nbytes), dtype, torch.Size(shape))
    return ScaledTensor(decode(memory, dtype, shape), scale, turned)


def as_scale(stored: Tensor) -> Tensor:
    """A stored scale, a number or one for each row in any shape, as `ScaledTensor` wants it."""
    return stored.float().flatten()


def is_sound(scale: Tensor) -> bool:
    """Whether every number of a scale is finite and above 0."""
    return bool((scale.isfinite() & (scale > 0)).all())
