"""A block of a transformer as one flat run of bytes, and the file that fills it. Knows nothing of rings or threads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from wan2.errors import InputError, RunError
from wan2.loading.reader import TensorReader
from wan2.models.layers import Block

if TYPE_CHECKING:
    from torch import Tensor

    from wan2.loading.checkpoint import TransformerFile
    from wan2.models.config import TransformerConfig

# Every tensor of a block starts at a multiple of this many bytes, as the allocators of the devices would have it.
ALIGNMENT = 256


@dataclass(frozen=True)
class BlockLayout:
    """Where each tensor of a block lies in its run of bytes. All blocks of a transformer are laid out alike."""

    config: TransformerConfig
    dtype: torch.dtype

    @cached_property
    def starts(self) -> dict[str, int]:
        """Name within the block -> its first byte; the empty name is the end of the block."""
        starts, end = {}, 0
        for name, shape in self.config.block_shapes().items():
            starts[name] = end
            end += math.ceil(math.prod(shape) * self.dtype.itemsize / ALIGNMENT) * ALIGNMENT
        return starts | {"": end}

    @property
    def nbytes(self) -> int:
        """Length of a block."""
        return self.starts[""]

    def tensors(self, memory: Tensor) -> dict[str, Tensor]:
        """The tensors of a block that lies in `memory`, uint8 [nbytes]: views, not copies."""
        return {
            name: memory[self.starts[name] :][: math.prod(shape) * self.dtype.itemsize].view(self.dtype).view(shape)
            for name, shape in self.config.block_shapes().items()
        }

    def block(self, memory: Tensor) -> Block:
        """A block whose weights are whatever `memory`, uint8 [nbytes], holds at the time."""
        config = self.config
        with torch.device("meta"):
            block = Block(config.dim, config.ffn_dim, config.num_heads, config.eps)
        for name, tensor in self.tensors(memory).items():
            owner, _, leaf = name.rpartition(".")
            setattr(block.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))
        return block.eval()


class BlockFile:
    """A checkpoint whose blocks are read one at a time, again and again, straight into memory that is there."""

    def __init__(self, path: Path, file: TransformerFile, layout: BlockLayout) -> None:
        self.path, self.layout = path, layout
        self._sources = file.sources
        self._reader = TensorReader(file.header, torch.device("cpu"))

    @property
    def bytes_read(self) -> int:
        """What was read so far."""
        return self._reader.bytes_read

    def read(self, index: int, memory: Tensor) -> None:
        """Block `index` into `memory`, uint8 [nbytes] on the CPU.

        Raises:
            RunError: the file cannot be read any more, or got shorter.
        """
        try:
            for name, tensor in self.layout.tensors(memory).items():
                self._reader.read_into(self._sources[f"blocks.{index}.{name}"], tensor)
        except OSError as error:
            raise RunError(f"{self.path}: reading block {index} failed: {error.strerror or error}") from error
        except InputError as error:
            raise RunError(f"reading block {index} failed: {error}") from error


@dataclass(frozen=True)
class StoredBlock:
    """A block in its file."""

    file: BlockFile
    index: int

    def __str__(self) -> str:
        return f"block {self.index} of {self.file.path}"
