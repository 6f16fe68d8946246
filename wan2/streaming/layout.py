"""A block of a transformer as one flat run of bytes, and the file that fills it. Knows nothing of rings or threads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from wan2.errors import InputError, RunError
from wan2.models.fp8 import FP8, hold_in_fp8
from wan2.models.layers import Block
from wan2.weights.fp8 import WEIGHT
from wan2.weights.reader import TensorReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from wan2.models.config import TransformerConfig
    from wan2.weights.sources import TransformerFile

# Every tensor of a block starts at a multiple of this many bytes, as the allocators of the devices would have it.
ALIGNMENT = 256


class Lent(Protocol):
    """What a ring lends: a block, or the parameters of one, on the device."""

    def to(self, device: str) -> object:
        """Let go of the memory, with the device "meta"."""
        ...


class Layout(Protocol):
    """How a block lies in a run of bytes."""

    @property
    def nbytes(self) -> int:
        """Length of a block."""
        ...

    def block(self, memory: Tensor) -> Lent:
        """A block whose weights are whatever `memory` holds at the time."""
        ...


class LayeredFile(Protocol):
    """A file whose blocks are read one at a time; `layouts` has one layout for each."""

    path: Path

    @property
    def layouts(self) -> Sequence[Layout]:
        """How each block lies in memory."""
        ...

    def read(self, index: int, memory: Tensor) -> None:
        """Block `index` into `memory`, on the CPU."""
        ...


@dataclass(frozen=True)
class BlockLayout:
    """Where each tensor of a block lies in its run of bytes.

    fp8: the weights that are held so, by their names within the block, to be used as fast as that allows or not.
    """

    config: TransformerConfig
    dtype: torch.dtype
    fp8: frozenset[str] = frozenset()
    fast: bool = False

    @cached_property
    def parts(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Name within the block -> dtype and shape; an fp8 weight has two parts, its values and its scales."""
        parts: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
        for name, shape in self.config.block_shapes().items():
            if name in self.fp8:
                stored, scale = _fp8_parts(name)
                parts |= {stored: (FP8, shape), scale: (torch.float32, (shape[0], 1))}
            else:
                parts[name] = (self.dtype, shape)
        return parts

    @cached_property
    def starts(self) -> dict[str, int]:
        """Part -> its first byte; the empty name is the end of the block."""
        starts, end = {}, 0
        for name, (dtype, shape) in self.parts.items():
            starts[name] = end
            end += math.ceil(math.prod(shape) * dtype.itemsize / ALIGNMENT) * ALIGNMENT
        return starts | {"": end}

    @property
    def nbytes(self) -> int:
        """Length of a block."""
        return self.starts[""]

    def tensors(self, memory: Tensor) -> dict[str, Tensor]:
        """The parts of a block that lies in `memory`, uint8 [nbytes or more]: views, not copies."""
        return {
            name: memory[self.starts[name] :][: math.prod(shape) * dtype.itemsize].view(dtype).view(shape)
            for name, (dtype, shape) in self.parts.items()
        }

    def block(self, memory: Tensor) -> Block:
        """A block whose weights are whatever `memory`, uint8 [nbytes or more], holds at the time."""
        config = self.config
        with torch.device("meta"):
            block = Block(config.dim, config.ffn_dim, config.num_heads, config.eps)
        hold_in_fp8(block, self.fp8, self.fast)
        for name, tensor in self.tensors(memory).items():
            owner, _, leaf = name.rpartition(".")
            setattr(block.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))
        return block.eval()


def _fp8_parts(weight: str) -> tuple[str, str]:
    """What `Fp8Linear` calls the values and the scales of a weight."""
    linear = weight.removesuffix(WEIGHT)
    return f"{linear}.stored", f"{linear}.scale"


class BlockFile:
    """A checkpoint whose blocks are read one at a time, again and again, straight into memory that is there.

    `layouts` has one layout for each block.
    """

    def __init__(self, file: TransformerFile, layouts: Sequence[BlockLayout]) -> None:
        self.file, self.path, self.layouts = file, file.path, layouts
        self._sources = file.sources
        self._reader = TensorReader(file.header, torch.device("cpu"))

    @property
    def bytes_read(self) -> int:
        """What was read so far."""
        return self._reader.bytes_read

    def read(self, index: int, memory: Tensor) -> None:
        """Block `index` into `memory`, uint8 [nbytes or more] on the CPU; what is to be fp8 is quantised on the way.

        Raises:
            RunError: the file cannot be read any more, or got shorter, or holds what cannot be quantised.
        """
        layout, block = self.layouts[index], f"blocks.{index}."
        tensors = layout.tensors(memory)
        try:
            for name in layout.fp8:
                stored, scale = (tensors.pop(part) for part in _fp8_parts(name))
                self._reader.read_fp8_into(self._sources[block + name], stored, scale)
            for name, tensor in tensors.items():
                self._reader.read_into(self._sources[block + name], tensor)
        except OSError as error:
            place = error.filename or self.path
            raise RunError(f"{place}: reading block {index} failed: {error.strerror or error}") from error
        except InputError as error:
            raise RunError(f"reading block {index} failed: {error}") from error


@dataclass(frozen=True)
class StoredBlock:
    """A block in its file."""

    file: LayeredFile
    index: int

    @property
    def layout(self) -> Layout:
        """How it lies in memory."""
        return self.file.layouts[self.index]

    def __str__(self) -> str:
        return f"block {self.index} of {self.file.path}"
