"""The two experts of one run, one open at a time, as many of their blocks streamed as the run asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.events import Progress
from wan2.files import sweep
from wan2.models.transformer import WanTransformer
from wan2.request.loras import loras_of, without_loras
from wan2.request.request import Request
from wan2.run.machine import Machine
from wan2.sampling.experts import Expert
from wan2.streaming.residency import blocks_to_stream
from wan2.streaming.turns import Turn, transformers
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.fp8 import Fp8, fp8_weights
from wan2.weights.fp8_cache import cache_path, gains_by_cache, look_for_cache, write_cache

FLAGS: dict[Expert, str] = {"high": "dit_high_noise", "low": "dit_low_noise"}
# Of a guided step: with the prompt and with the negative prompt.
PASSES = 2
OpenExpert = Callable[[Expert], AbstractContextManager[WanTransformer]]


@contextmanager
def experts(request: Request, machine: Machine, steps: Sequence[tuple[Expert, range]]) -> Iterator[OpenExpert]:
    """What opens an expert, for a run in which each takes the steps listed, in that order.

    Raises:
        InputError: a file is no transformer, or blocks cannot be streamed as asked.
    """
    turns = [
        Turn(expert, getattr(request.files, FLAGS[expert]), len(taken), loras_of(request, FLAGS[expert]))
        for expert, taken in steps
    ]
    _check_held(request, machine, turns)
    streamed, apart = _residency(request, machine, turns)
    if apart:
        turns = [turn._replace(passes=PASSES * turn.passes) for turn in turns]
    fp8 = Fp8(request.compute.quantises, request.compute.fp8_fast)
    where = request.compute.weights_from, machine.device, machine.dtype
    with transformers(turns, streamed, *where, fp8, apart) as load:
        yield partial(_opened, load, machine, request.compute.compile)


def keep_fp8(request: Request, steps: Sequence[tuple[Expert, range]], progress: Progress) -> Request:
    """The request with the fp8 weights kept beside the experts in their place; those that are not there are made.

    LoRAs are in them already.

    Raises:
        InputError: another file is in the way, or an expert or a LoRA holds what cannot be quantised.
    """
    if not request.compute.fp8_cache:
        return request
    files, merged = dict[str, Path](), dict[str, Any]()
    for expert, _ in steps:
        name = FLAGS[expert]
        path, loras = getattr(request.files, name), loras_of(request, name)
        if not gains_by_cache(inspect_transformer(path, loras)):
            continue
        found, kept = look_for_cache(path, loras), cache_path(path, loras)
        if found == "stale":
            with_them = " and its LoRAs" if loras else ""
            progress.note(f"{kept} is not of the --{name}{with_them} of today; it is made again")
        if found != "good":
            progress.stage(f"Writing {kept}")
            write_cache(path, loras)
        else:
            sweep(kept)
        files[name] = kept
        merged |= without_loras(name)
    return replace(request, files=replace(request.files, **files), **merged)


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


def _check_held(request: Request, machine: Machine, turns: Sequence[Turn]) -> None:
    """Refuse a file in fp8 on a device that has no such type, once the device is known."""
    for turn in turns:
        if machine.device.type == "mps" and fp8_weights(inspect_transformer(turn.path), request.compute.quantises):
            raise InputError(f"{turn.path}: is fp8, which --device mps does not have; use --device cpu")


def _residency(request: Request, machine: Machine, turns: Sequence[Turn]) -> tuple[int, bool]:
    """How many blocks of each expert are streamed, and whether passes run apart.

    `auto` is decided with the memory that is free now.
    """
    if isinstance(request.compute.blocks_to_swap, int):
        return request.compute.blocks_to_swap, request.compute.passes_apart
    free = machine.free_bytes()
    if free is None:
        return 0, request.compute.passes_apart
    tokens, item = request.shape.tokens, machine.dtype.itemsize
    files = [inspect_transformer(turn.path) for turn in turns]
    needed = [
        blocks_to_stream(free, file.config, tokens, item, fp8_weights(file, request.compute.quantises))
        for file in files
    ]
    count, apart = max(needed, default=(0, False))
    return count, apart or request.compute.passes_apart
