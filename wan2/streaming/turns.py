"""The transformers of a run, each loaded when its turn comes, their blocks streamed or not. Knows nothing of steps."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from wan2.errors import InputError
from wan2.models.fp8 import hold_in_fp8
from wan2.streaming.layout import BlockFile, BlockLayout, StoredBlock
from wan2.streaming.residency import RING_BLOCKS, spread
from wan2.streaming.ring import BlockRing, StreamedTransformer, block_ring
from wan2.weights.checkpoint import inspect_transformer, load_transformer, load_weights
from wan2.weights.fp8 import AS_STORED, Fp8, fp8_weights, in_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wan2.models.config import TransformerConfig
    from wan2.models.transformer import WanTransformer
    from wan2.weights.sources import Lora, TransformerFile


class Turn(NamedTuple):
    """A transformer's turn: what it is called, its file, how often its blocks will run through, at most, and the LoRAs
    that are merged into it.
    """

    name: str
    path: Path
    passes: int
    loras: tuple[Lora, ...] = ()


@contextmanager
def transformers(
    turns: Sequence[Turn],
    streamed: int,
    weights_from: str,
    device: torch.device,
    dtype: torch.dtype,
    fp8: Fp8 = AS_STORED,
    apart: bool = False,
) -> Iterator[Callable[[str], WanTransformer]]:
    """What loads the transformer of each turn; the loaded ones are the caller's to let go of.

    One ring serves them all: while the last blocks of one still run, the first of the next are read already.

    Args:
        turns: every transformer that will be used, in order.
        streamed: how many blocks of each are streamed; the others, and all that is no block, stay on the device.
        weights_from: "disk" reads a block whenever it is wanted, "ram" only once a turn.
        device: where to compute.
        dtype: compute dtype.
        fp8: what becomes of the linears of the blocks.
        apart: run the passes of a step one after the other, reading streamed blocks for each.

    Raises:
        InputError: a file is no transformer, or they are too different to share a ring.
    """
    if not streamed:
        by_name = {turn.name: turn for turn in turns}
        yield lambda name: load_transformer(by_name[name].path, device, dtype, fp8, by_name[name].loras)
        return
    files = {turn.name: inspect_transformer(turn.path, turn.loras) for turn in turns}
    indices = spread(streamed, _shared_config(list(files.values()), streamed).num_layers)
    sources = {turn.name: _block_file(turn.path, files[turn.name], dtype, fp8) for turn in turns}
    layouts = {source.layouts[index] for source in sources.values() for index in indices}
    places = _place_sizes(list(sources.values()), indices, _places(streamed, weights_from, device))
    begun: list[str] = []

    def orders() -> Iterator[StoredBlock]:
        for name, _, passes, _ in turns:
            for index in list(indices) * passes:
                if name not in begun[:-1]:  # its turn may be over sooner than was thought
                    yield StoredBlock(sources[name], index)

    def load(name: str) -> WanTransformer:
        begun.append(name)
        ring.give_up_all_but(sources[name])
        return _load(files[name], sources[name], ring, indices, dtype, apart)

    with block_ring(layouts, orders(), device, places) as ring:
        yield load


def _shared_config(files: Sequence[TransformerFile], streamed: int) -> TransformerConfig:
    if any(file.config != files[0].config for file in files):
        raise InputError(f"--blocks_to_swap {streamed}: the two transformers differ in size; stream none (0)")
    return files[0].config


def _block_file(path: Path, file: TransformerFile, dtype: torch.dtype, fp8: Fp8) -> BlockFile:
    weights = fp8_weights(file, fp8.quantise)
    blocks = range(file.config.num_layers)
    return BlockFile(
        path, file, [BlockLayout(file.config, dtype, in_block(index, weights), fp8.fast) for index in blocks]
    )


def _place_sizes(sources: Sequence[BlockFile], indices: Sequence[int], count: int) -> list[int]:
    """Bytes of each place of the host: of the block that always comes there, or of the largest."""
    sizes = [max(source.layouts[index].nbytes for source in sources) for index in indices]
    return sizes if count == len(sizes) else [max(sizes)] * count


def _places(streamed: int, weights_from: str, device: torch.device) -> int:
    if weights_from == "ram":
        return streamed
    return 0 if device.type == "cpu" else RING_BLOCKS


def _load(
    file: TransformerFile,
    source: BlockFile,
    ring: BlockRing,
    indices: Sequence[int],
    dtype: torch.dtype,
    apart: bool,
) -> StreamedTransformer:
    """A transformer with everything but the blocks that it borrows."""
    with torch.device("meta"):
        model = StreamedTransformer(file.config, ring, source, indices, apart).requires_grad_(False)
    for index in set(range(file.config.num_layers)) - set(indices):
        hold_in_fp8(model.blocks[index], source.layouts[index].fp8, source.layouts[index].fast)
    borrowed = tuple(f"blocks.{index}." for index in indices)
    names = [name for name in file.sources if not name.startswith(borrowed)]
    load_weights(model, file, names, ring.device, dtype)
    return model.eval()
