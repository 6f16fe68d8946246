"""The two experts of one run, one open at a time, as many of their blocks streamed as the run asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from wan2.errors import InputError
from wan2.events import Progress
from wan2.files import sweep
from wan2.models.transformer import WanTransformer
from wan2.request.loras import loras_of
from wan2.request.request import Options
from wan2.run.machine import Machine
from wan2.sampling.experts import Expert
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.streaming.residency import blocks_to_stream
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.fp8 import Fp8, fp8_weights
from wan2.weights.fp8_cache import gains_by_cache, look_for_cache, write_cache
from wan2.weights.sources import TransformerFile

FLAGS: dict[Expert, str] = {"high": "dit_high_noise", "low": "dit_low_noise"}
# Of a guided step: with the prompt and with the negative prompt.
PASSES = 2
OpenExpert = Callable[[Expert], AbstractContextManager[WanTransformer]]
Files = Mapping[Expert, TransformerFile]


def inspect_experts(options: Options, steps: Sequence[tuple[Expert, range]]) -> dict[Expert, TransformerFile]:
    """The files of the experts that take these steps, with their LoRAs.

    Raises:
        InputError: a file is no transformer, or a LoRA does not fit.
    """
    paths = {expert: getattr(options.files, FLAGS[expert]) for expert, _ in steps}
    return {expert: inspect_transformer(path, loras_of(options, FLAGS[expert])) for expert, path in paths.items()}


def keep_fp8(files: Files, progress: Progress) -> dict[Expert, TransformerFile]:
    """The files with fp8 weights that are kept beside the experts, LoRAs merged in; those that are absent are made.

    An expert that would gain nothing keeps its own file.

    Raises:
        InputError: another file is in the way, or an expert or a LoRA holds what cannot be quantised.
    """
    made = dict(files)
    for expert, file in files.items():
        if not gains_by_cache(file):
            continue
        kept = look_for_cache(file)
        if kept.state == "stale":
            with_them = " and its LoRAs" if file.loras else ""
            progress.note(f"{kept.path} is not of the --{FLAGS[expert]}{with_them} of today; it is made again")
        if kept.file is None:
            progress.stage(f"Writing {kept.path}")
            made[expert] = write_cache(file)
        else:
            sweep(kept.path)
            made[expert] = kept.file
    return made


def place_weights(options: Options, machine: Machine, files: Files) -> Placement:
    """How the weights of the experts are held. `auto` is decided with the memory that is free now.

    Raises:
        InputError: an expert is in fp8, and the device has no such type.
    """
    fp8 = Fp8(options.quantises, options.fp8_fast)
    held = {expert: fp8_weights(file, fp8.quantise) for expert, file in files.items()}
    if odd := [files[expert].path for expert, weights in held.items() if weights and machine.device.type == "mps"]:
        raise InputError(f"{odd[0]}: is fp8, which --device mps does not have; use --device cpu")
    streamed, apart = options.blocks_to_swap, options.passes_apart
    if not isinstance(streamed, int):
        free, tokens, item = machine.free_bytes(), options.shape.tokens, machine.dtype.itemsize
        needed = [(0, False)]
        if free is not None:
            needed += [
                blocks_to_stream(free, file.config, tokens, item, held[expert]) for expert, file in files.items()
            ]
        streamed, must = max(needed)
        apart = apart or must
    return Placement(machine.device, machine.dtype, fp8, streamed, options.weights_from, apart)


@contextmanager
def experts(
    files: Files, steps: Sequence[tuple[Expert, range]], placement: Placement, machine: Machine, compiled: bool
) -> Iterator[OpenExpert]:
    """A function that opens an expert, for a run in which each takes the steps listed, in that order.

    Raises:
        InputError: blocks cannot be streamed as asked.
    """
    passes = PASSES if placement.apart else 1
    phases = [Phase(expert, files[expert], passes * len(taken)) for expert, taken in steps]
    with transformers(phases, placement) as load:
        yield partial(_opened, load, machine, compiled)


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
