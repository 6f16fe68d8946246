"""The transformers of a run, each loaded when its turn comes, their blocks streamed or not. Knows nothing of steps."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from wan2.errors import InputError
from wan2.loading.blocks import BlockFile, BlockLayout, StoredBlock
from wan2.loading.checkpoint import inspect_transformer, load_transformer, load_weights
from wan2.loading.residency import RING_BLOCKS, spread
from wan2.loading.stream import BlockRing, StreamedTransformer, block_ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wan2.loading.checkpoint import TransformerFile
    from wan2.models.transformer import WanTransformer


class Turn(NamedTuple):
    """A transformer's turn: what it is called, its file, and how often its blocks will run through, at most."""

    name: str
    path: Path
    passes: int


@contextmanager
def transformers(
    turns: Sequence[Turn], streamed: int, weights_from: str, device: torch.device, dtype: torch.dtype
) -> Iterator[Callable[[str], WanTransformer]]:
    """What loads the transformer of each turn; the loaded ones are the caller's to let go of.

    One ring serves them all: while the last blocks of one still run, the first of the next are read already.

    Args:
        turns: every transformer that will be used, in order.
        streamed: how many blocks of each are streamed; the others, and all that is no block, stay on the device.
        weights_from: "disk" reads a block whenever it is wanted, "ram" only once a turn.
        device: where to compute.
        dtype: compute dtype.

    Raises:
        InputError: a file is no transformer, or they are too different to share a ring.
    """
    if not streamed:
        paths = {turn.name: turn.path for turn in turns}
        yield lambda name: load_transformer(paths[name], device, dtype)
        return
    files = {turn.name: inspect_transformer(turn.path) for turn in turns}
    config, *others = [file.config for file in files.values()]
    if any(other != config for other in others):
        raise InputError(f"--blocks_to_swap {streamed}: the two transformers differ in size; stream none (0)")
    layout, indices = BlockLayout(config, dtype), spread(streamed, config.num_layers)
    sources = {turn.name: BlockFile(turn.path, files[turn.name], layout) for turn in turns}
    begun: list[str] = []

    def orders() -> Iterator[StoredBlock]:
        for turn in turns:
            for index in list(indices) * turn.passes:
                if turn.name not in begun[:-1]:  # its turn may be over sooner than was thought
                    yield StoredBlock(sources[turn.name], index)

    def load(name: str) -> WanTransformer:
        begun.append(name)
        ring.give_up_all_but(sources[name])
        return _load(files[name], sources[name], ring, indices)

    with block_ring(layout, orders(), device, _places(streamed, weights_from, device)) as ring:
        yield load


def _places(streamed: int, weights_from: str, device: torch.device) -> int:
    if weights_from == "ram":
        return streamed
    return 0 if device.type == "cpu" else RING_BLOCKS


def _load(file: TransformerFile, source: BlockFile, ring: BlockRing, indices: Sequence[int]) -> StreamedTransformer:
    """A transformer with everything but the blocks that it borrows."""
    with torch.device("meta"):
        model = StreamedTransformer(file.config, ring, source, indices).requires_grad_(False)
    borrowed = tuple(f"blocks.{index}." for index in indices)
    names = [name for name in file.sources if not name.startswith(borrowed)]
    load_weights(model, file, names, ring.device, source.layout.dtype)
    return model.eval()
