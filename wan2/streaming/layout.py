"""How named tensors are placed in a buffer, and the files that fill it. Knows nothing of rings or threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from wan2.errors import InputError, RunError
from wan2.models.held import hold
from wan2.models.layers import Block
from wan2.weights.decode import view_at
from wan2.weights.fp8 import WEIGHT
from wan2.weights.reader import TensorReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wan2.models.config import TransformerConfig
    from wan2.models.forms import Form
    from wan2.weights.sources import TransformerFile

# Every tensor of a layer starts at a multiple of this many bytes, as the allocators of the devices would place it.
ALIGNMENT = 256
# What a linear that holds its weight in fewer bits calls the values of it, and in fp8 the scales.
STORED, SCALE = ".stored", ".scale"


class Part(NamedTuple):
    """One tensor of a layer, by its name within it."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class OnDevice(Protocol):
    """What a ring hands out: the weights of a layer, or a module with them, in a slot of the device."""

    def to(self, device: str) -> object:
        """Release the memory, with the device "meta"."""
        ...


class LayerWeights(dict[str, Tensor]):
    """The weights of a layer by their names within it, in a slot of the device."""

    def to(self, device: str) -> None:  # noqa: ARG002 - as of a module
        """Release the memory."""
        self.clear()


@dataclass(frozen=True)
class Layout:
    """How the tensors of a layer are placed in a buffer: one after the other, each aligned."""

    parts: tuple[Part, ...]

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First byte of each part, and the end of the last."""
        starts = [0]
        for part in self.parts:
            starts.append(starts[-1] + math.ceil(part.nbytes / ALIGNMENT) * ALIGNMENT)
        return tuple(starts)

    @property
    def nbytes(self) -> int:
        """Length of a layer."""
        return self.starts[-1]

    @property
    def held(self) -> tuple[str, ...]:
        """The weights that are held in fewer bits, by their names within the layer."""
        return tuple(part.name.removesuffix(STORED) + WEIGHT for part in self.parts if part.name.endswith(STORED))

    def tensors(self, memory: Tensor) -> dict[str, Tensor]:
        """The tensors of a layer in `memory`, uint8 [nbytes or more]: views, not copies."""
        return {
            part.name: view_at(memory, start, part.dtype, part.shape)
            for part, start in zip(self.parts, self.starts, strict=False)
        }

    def in_slot(self, memory: Tensor) -> OnDevice:
        """A layer whose weights are whatever `memory`, uint8 [nbytes or more], holds at the time."""
        return LayerWeights(self.tensors(memory))

    def fill(self, memory: Tensor, into: Callable[[str, Tensor], None], held_into: Callable[..., None]) -> None:
        """Write a layer into `memory`, uint8 [nbytes or more] on the CPU.

        Args:
            memory: the buffer.
            into: writes the tensor of that name.
            held_into: writes the weight of that name as it is held: values, and scales, fp32 [rows, 1], if it has some.
        """
        tensors = self.tensors(memory)
        for name in self.held:
            linear = name.removesuffix(WEIGHT)
            held_into(name, *(tensors.pop(linear + part) for part in (STORED, SCALE) if linear + part in tensors))
        for name, tensor in tensors.items():
            into(name, tensor)


def parts_of(layer: nn.Module, dtype: torch.dtype) -> tuple[Part, ...]:
    """The parameters of a layer. Held values and scales keep their dtypes; all others are in the compute dtype."""
    parameters = dict(layer.named_parameters())
    kept = {name for name in parameters if name.endswith(STORED)}
    kept |= {name.removesuffix(STORED) + SCALE for name in kept}
    return tuple(Part(name, p.dtype if name in kept else dtype, tuple(p.shape)) for name, p in parameters.items())


@dataclass(frozen=True)
class BlockLayout(Layout):
    """The layout of a transformer's block; see `block_layout`."""

    config: TransformerConfig
    forms: frozenset[tuple[str, Form]]
    fast: frozenset[str]

    def in_slot(self, memory: Tensor) -> Block:
        """A block whose weights are whatever `memory`, uint8 [nbytes or more], holds at the time."""
        block = _empty_block(self.config, self.forms, self.fast)
        for name, tensor in self.tensors(memory).items():
            owner, _, leaf = name.rpartition(".")
            setattr(block.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))
        return block.eval()


@lru_cache(maxsize=8)
def block_layout(
    config: TransformerConfig,
    dtype: torch.dtype,
    held: frozenset[tuple[str, Form]] = frozenset(),
    fast: frozenset[str] = frozenset(),
) -> BlockLayout:
    """How a block is placed in a buffer.

    Args:
        config: sizes of the transformer.
        dtype: of the weights that are not held in fewer bits.
        held: those that are, by their names within the block, and how.
        fast: the forms of which products are computed as they are held.
    """
    return BlockLayout(parts_of(_empty_block(config, held, fast), dtype), config, held, fast)


def _empty_block(config: TransformerConfig, held: frozenset[tuple[str, Form]], fast: frozenset[str]) -> Block:
    """A block without memory."""
    with torch.device("meta"):
        block = Block(config.dim, config.ffn_dim, config.num_heads, config.eps)
    hold(block, dict(held), fast)
    return block


class LayeredFile(Protocol):
    """A file whose layers are read one at a time; `layouts` has one layout for each."""

    path: Path

    @property
    def layouts(self) -> Sequence[Layout]:
        """How each layer is placed in memory."""
        ...

    def read(self, index: int, memory: Tensor) -> None:
        """Layer `index` into `memory`, on the CPU."""
        ...

    def read_ahead(self, index: int) -> None:
        """Layer `index` was read: the system may fetch from the disk what is read after it."""
        ...


class BlockFile:
    """A checkpoint whose blocks are read one at a time, again and again, straight into a buffer.

    `layouts` has one layout for each block. order: the blocks that are read, in turn; all of them if it is None.
    """

    def __init__(
        self, file: TransformerFile, layouts: Sequence[BlockLayout], order: Sequence[int] | None = None
    ) -> None:
        self.file, self.path, self.layouts = file, file.path, layouts
        self._sources = file.sources
        self._reader = TensorReader(file.header, torch.device("cpu"))
        blocks = range(len(layouts)) if order is None else order
        self._after = dict(zip(blocks, [*blocks[1:], *blocks[:1]], strict=True))

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return self._reader.bytes_read

    def read(self, index: int, memory: Tensor) -> None:
        """Block `index` into `memory`, uint8 [nbytes or more] on the CPU; weights to be held in fp8 are quantised.

        Raises:
            RunError: the file cannot be read any more, or got shorter, or holds what cannot be quantised.
        """
        prefix, reader, sources = f"blocks.{index}.", self._reader, self._sources
        try:
            self.layouts[index].fill(
                memory,
                lambda name, out: reader.read_into(sources[prefix + name], out),
                lambda name, *parts: reader.read_held_into(sources[prefix + name], *parts),
            )
        except OSError as error:
            place = error.filename or self.path
            raise RunError(f"{place}: reading block {index} failed: {error.strerror or error}") from error
        except InputError as error:
            raise RunError(f"reading block {index} failed: {error}") from error

    def read_ahead(self, index: int) -> None:
        """Block `index` was read: have the system fetch the block after it, which may be far from it in the file."""
        prefix = f"blocks.{self._after[index]}."
        self._reader.expect(source.name for name, source in self._sources.items() if name.startswith(prefix))


@dataclass(frozen=True)
class StoredBlock:
    """A block in its file."""

    file: LayeredFile
    index: int

    @property
    def layout(self) -> Layout:
        """How it is placed in memory."""
        return self.file.layouts[self.index]

    def __str__(self) -> str:
        return f"block {self.index} of {self.file.path}"
