"""The transformers of a run, each loaded when its phase begins, with blocks streamed or not. Knows nothing of steps."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from wan2.errors import InputError
from wan2.models.held import hold
from wan2.streaming.copies import ignore
from wan2.streaming.layout import BlockFile, StoredBlock, block_layout
from wan2.streaming.residency import RING_BLOCKS, spread
from wan2.streaming.ring import BlockRing, StreamedTransformer, block_ring
from wan2.weights.branches import load_branches
from wan2.weights.checkpoint import load_transformer, load_weights
from wan2.weights.fp8 import AS_STORED, LowBit
from wan2.weights.held import held_weights, in_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wan2.models.config import TransformerConfig
    from wan2.models.transformer import WanTransformer
    from wan2.weights.sources import TransformerFile


class Phase(NamedTuple):
    """The part of a run in which one transformer computes.

    name: what the transformer is called. passes: how often its blocks will run, one after the other, at most.
    """

    name: str
    file: TransformerFile
    passes: int


@dataclass(frozen=True)
class Placement:
    """Where and how the weights of transformers are held.

    device, dtype: of the computation. fp8: which linears are held and multiplied in fp8. streamed: how many blocks of
    each transformer are streamed; the others, and everything that is no block, stay on the device. weights_from: "disk"
    reads a streamed block whenever it is needed, "ram" once a phase, and keeps it in host memory. apart: run the passes
    of a step one after the other, and fetch streamed blocks for each; else together, and fetch them once. note: gets a
    line about what is slower here than it could be.
    """

    device: torch.device
    dtype: torch.dtype
    low_bit: LowBit = AS_STORED
    streamed: int = 0
    weights_from: str = "disk"
    apart: bool = False
    note: Callable[[str], None] = ignore


@contextmanager
def transformers(phases: Sequence[Phase], placement: Placement) -> Iterator[Callable[[str], WanTransformer]]:
    """A function that loads the transformer of each phase, by its name. The caller releases what it loaded.

    One ring streams the blocks of all of them: while the last blocks of one transformer still run, the first blocks of
    the next are read already. `phases` lists every transformer that will be used, in order.

    Raises:
        InputError: the transformers are too different to share a ring.
    """
    if not placement.streamed:
        files = {phase.name: phase.file for phase in phases}
        yield lambda name: load_transformer(files[name], placement.device, placement.dtype, placement.low_bit)
        return
    indices = spread(placement.streamed, _shared_config(phases, placement.streamed).num_layers)
    sources = {phase.name: block_file(phase.file, placement) for phase in phases}
    layouts = {source.layouts[index] for source in sources.values() for index in indices}
    buffers = buffer_sizes(list(sources.values()), indices, staging_buffers(placement))
    begun: list[str] = []

    def schedule() -> Iterator[StoredBlock]:
        for name, _, passes in phases:
            for index in list(indices) * passes:
                if name not in begun[:-1]:  # a phase may end after fewer passes than were announced
                    yield StoredBlock(sources[name], index)

    def load(name: str) -> WanTransformer:
        begun.append(name)
        ring.skip_to(sources[name])
        return load_around(sources[name], ring, indices, placement)

    with block_ring(layouts, schedule(), placement.device, buffers, note=placement.note) as ring:
        yield load


def _shared_config(phases: Sequence[Phase], streamed: int) -> TransformerConfig:
    """The sizes that all transformers have."""
    config = phases[0].file.config
    if any(phase.file.config != config for phase in phases):
        raise InputError("the two transformers differ in size; stream none (0)", field="blocks_to_swap", value=streamed)
    return config


def block_file(file: TransformerFile, placement: Placement) -> BlockFile:
    """A checkpoint whose blocks are read one at a time, held as a placement says."""
    low_bit, config = placement.low_bit, file.config
    weights = held_weights(file, low_bit.quantise)
    held = (frozenset(in_block(index, weights).items()) for index in range(config.num_layers))
    layouts = [block_layout(config, placement.dtype, forms, low_bit.fast) for forms in held]
    return BlockFile(file, layouts, spread(placement.streamed, config.num_layers))


def buffer_sizes(sources: Sequence[BlockFile], indices: Sequence[int], count: int) -> list[int]:
    """Bytes of each staging buffer: those of the block that always goes there, or of the largest block."""
    sizes = [max(source.layouts[index].nbytes for source in sources) for index in indices]
    return sizes if count == len(sizes) else [max(sizes)] * count


def staging_buffers(placement: Placement) -> int:
    """How many staging buffers blocks go through."""
    if placement.weights_from == "ram":
        return placement.streamed
    return 0 if placement.device.type == "cpu" else RING_BLOCKS


def load_around(
    source: BlockFile, ring: BlockRing, indices: Sequence[int], placement: Placement
) -> StreamedTransformer:
    """A transformer with everything except the blocks that it takes from the ring."""
    file = source.file
    with torch.device("meta"):
        model = StreamedTransformer(file.config, ring, source, indices, placement.apart).requires_grad_(False)
    for index in set(range(file.config.num_layers)) - set(indices):
        hold(model.blocks[index], dict(source.layouts[index].forms), source.layouts[index].fast)
    streamed = tuple(f"blocks.{index}." for index in indices)
    names = [name for name in file.sources if not name.startswith(streamed)]
    load_weights(model, file, names, ring.device, placement.dtype)
    model.branches = load_branches(file, ring.device, placement.dtype)
    return model.eval()
