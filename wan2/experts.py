"""The two experts of one run, one open at a time, as many of their blocks streamed as the run asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from wan2.device import Machine
from wan2.loading.checkpoint import inspect_transformer
from wan2.loading.residency import blocks_to_stream
from wan2.loading.turns import Turn, transformers
from wan2.models.transformer import WanTransformer
from wan2.options import Options
from wan2.sampling.experts import Expert

OpenExpert = Callable[[Expert], AbstractContextManager[WanTransformer]]


@contextmanager
def experts(options: Options, machine: Machine, steps: Sequence[tuple[Expert, range]]) -> Iterator[OpenExpert]:
    """What opens an expert, for a run in which each takes the steps listed, in that order.

    Raises:
        InputError: a file is no transformer, or blocks cannot be streamed as asked.
    """
    files = {"high": options.files.dit_high_noise, "low": options.files.dit_low_noise}
    turns = [Turn(expert, files[expert], len(taken)) for expert, taken in steps]
    streamed = _num_streamed(options, machine, turns)
    with transformers(turns, streamed, options.weights_from, machine.device, machine.dtype) as load:
        yield partial(_opened, load, machine, options.compile)


@contextmanager
def _opened(
    load: Callable[[str], WanTransformer], machine: Machine, compiled: bool, expert: Expert
) -> Iterator[WanTransformer]:
    model = load(expert)
    if compiled:
        from wan2.models.compiled import compiled_regions

        model.regions = compiled_regions()
    try:
        yield model
    finally:
        model.to("meta")  # frees the weights whoever still holds the module
        machine.release()


def _num_streamed(options: Options, machine: Machine, turns: Sequence[Turn]) -> int:
    """How many blocks of each expert are streamed; `auto` is decided with the memory that is free now."""
    if isinstance(options.blocks_to_swap, int):
        return options.blocks_to_swap
    free = machine.free_bytes()
    if free is None:
        return 0
    tokens, item = options.shape.tokens, machine.dtype.itemsize
    configs = [inspect_transformer(turn.path).config for turn in turns]
    return max((blocks_to_stream(free, config, tokens, item) for config in configs), default=0)
