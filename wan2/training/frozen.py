"""A frozen transformer for training: all of it on the device, or some of its blocks streamed, forth and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from wan2.streaming.layout import StoredBlock
from wan2.streaming.phases import Placement, block_file, buffer_sizes, load_around, staging_buffers
from wan2.streaming.residency import spread
from wan2.streaming.ring import BlockRing, block_ring
from wan2.weights.checkpoint import load_transformer

if TYPE_CHECKING:
    from wan2.models.layers import Block
    from wan2.models.transformer import WanTransformer
    from wan2.streaming.layout import BlockFile
    from wan2.training.step import Frozen
    from wan2.weights.sources import TransformerFile


class Whole:
    """A transformer of which nothing is streamed."""

    def __init__(self, model: WanTransformer) -> None:
        self.model = model

    def forward(self, then_backward: bool) -> Iterator[tuple[int, Block]]:  # noqa: ARG002 - as of streamed ones
        """Every block, first to last."""
        for index, block in enumerate(self.model.blocks):
            yield index, cast("Block", block)

    def backward(self) -> Iterator[tuple[int, Block]]:
        """Every block, last to first."""
        return reversed(list(self.forward(False)))


class Streamed:
    """A transformer whose blocks of some indices come from a ring, which fetches them in the order of passes."""

    def __init__(self, file: BlockFile, indices: tuple[int, ...]) -> None:
        self.file, self.indices = file, indices
        self.turns_back = True
        self.model: WanTransformer
        self.ring: BlockRing

    def schedule(self) -> Iterator[StoredBlock]:
        """Every block that is streamed, in the order of use: forth, and back where that follows.

        Asked two blocks ahead of use, so that `forward` has said by then whether it does.
        """
        while True:
            yield from (StoredBlock(self.file, index) for index in self.indices)
            if self.turns_back:
                yield from (StoredBlock(self.file, index) for index in reversed(self.indices))

    def forward(self, then_backward: bool) -> Iterator[tuple[int, Block]]:
        """Every block, first to last."""
        self.turns_back = then_backward
        yield from self._blocks(range(self.model.config.num_layers))

    def backward(self) -> Iterator[tuple[int, Block]]:
        """Every block, last to first."""
        yield from self._blocks(reversed(range(self.model.config.num_layers)))

    def _blocks(self, order: Iterator[int] | range) -> Iterator[tuple[int, Block]]:
        for index in order:
            if index in self.indices:
                with self.ring.use(StoredBlock(self.file, index)) as streamed:
                    yield index, cast("Block", streamed)
            else:
                yield index, cast("Block", self.model.blocks[index])


@contextmanager
def frozen_transformer(file: TransformerFile, placement: Placement) -> Iterator[Frozen]:
    """A transformer until the context is left.

    Raises:
        ValueError: a single block is streamed: the ring would fetch ahead what may not come next.
    """
    if not placement.streamed:
        model = load_transformer(file, placement.device, placement.dtype, placement.low_bit)
        yield Whole(model)
        model.to("meta")
        return
    if placement.streamed == 1:
        raise ValueError("training streams at least 2 blocks, or none")
    indices = spread(placement.streamed, file.config.num_layers)
    source = block_file(file, placement)
    streamed = Streamed(source, indices)
    buffers = buffer_sizes([source], indices, staging_buffers(placement))
    layouts = {source.layouts[index] for index in indices}
    with block_ring(layouts, streamed.schedule(), placement.device, buffers, note=placement.note) as ring:
        streamed.ring, streamed.model = ring, load_around(source, ring, indices, placement)
        yield streamed
        streamed.model.to("meta")
