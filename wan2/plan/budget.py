"""Options that fit a budget of device memory, by prediction. Loads nothing; results are the same to the last bit, but
for tiles, which blend where they meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.plan.memory import VAE_WEIGHTS, VAE_WIDTH, Attended, Decoding, Memory, predict_memory
from wan2.request.presets import A14B
from wan2.request.request import Options
from wan2.shapes import SIZE_MULTIPLE
from wan2.weights.checkpoint import PICKLES, inspect_transformer
from wan2.weights.fp8 import fp8_weights
from wan2.weights.header import read_header
from wan2.weights.vae_names import config_from_shapes, to_diffusers

GB = 1e9
# What a prediction may be short of, and what tensors that come and go leave unused between them.
MARGIN = 1.1
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# The text encoder and the VAE overflow float16: with it, they compute in float32.
WIDE = {"float16": 4}
STAGES = {"Reading the text": "text_encoder", "Denoising": "transformer", "Decoding": "vae"}
SMALLEST_TILE = 4 * SIZE_MULTIPLE


@dataclass(frozen=True)
class Work:
    """What decides the memory of a run beside its options.

    config, fp8: of a transformer, and its weights that are held in fp8. attended: what its self-attention holds at
    once, None for the whole video. vae: the width of its decoder, and its weights.
    """

    config: TransformerConfig
    fp8: frozenset[str] = frozenset()
    attended: Attended | None = None
    vae: tuple[int, int] = (VAE_WIDTH, VAE_WEIGHTS)


def work_of(options: Options, attended: Attended | None = None) -> Work:
    """The work of a run whose files are there; of saved latents, which need no transformer, that of the published one.

    Raises:
        InputError: the file is no transformer.
    """
    vae = vae_size(options.files.vae)
    if options.latent_path is not None:
        return Work(A14B, vae=vae)
    file = inspect_transformer(options.files.dit_high_noise)
    return Work(file.config, fp8_weights(file, options.quantises), attended, vae)


def vae_size(path: Path) -> tuple[int, int]:
    """Width of the decoder and number of weights of a VAE; as published, where only PyTorch could tell.

    Raises:
        InputError: the file is no safetensors file.
    """
    if path.suffix in PICKLES or not path.is_file():
        return VAE_WIDTH, VAE_WEIGHTS
    shapes = read_header(path).shapes
    names = to_diffusers(shapes)
    config = config_from_shapes({names[name]: shape for name, shape in shapes.items()})
    return (config["decoder_base_dim"] if config else VAE_WIDTH), sum(map(math.prod, shapes.values()))


def value_bytes(options: Options) -> int:
    """Bytes of a value in the compute dtype; `auto` is float32 on a processor, bfloat16 elsewhere."""
    return BYTES.get(options.dtype, BYTES["float32" if options.device == "cpu" else "bfloat16"])


def predict(options: Options, work: Work) -> Memory:
    """The memory of a run; with `auto`, of one whose blocks are all on the device."""
    size, pixels = value_bytes(options), options.height * options.width
    wide = WIDE.get(options.dtype, size)
    rows, columns = (options.tile_height or options.height), (options.tile_width or options.width)
    tile = min(rows, options.height) * min(columns, options.width)
    return predict_memory(
        work.config,
        options.shape.tokens,
        work.attended or Attended(options.shape.tokens),
        Decoding(options.shape.num_frames, pixels, tile, options.vae_cache_cpu, *work.vae),
        size,
        streamed=options.blocks_to_swap if isinstance(options.blocks_to_swap, int) else 0,
        from_ram=options.weights_from == "ram",
        fp8=work.fp8,
        fast=options.fp8_fast,
        fp8_t5=options.fp8_t5,
        wide=wide,
        vae=BYTES.get(options.vae_dtype, wide),
        passes=2 if options.guided else 1,
        apart=options.passes_apart or not options.guided,
    )


def within_budget(options: Options, work: Work) -> Options:
    """The options, completed so that every stage is predicted to stay within `--vram_budget`; what is given stays.

    Raises:
        InputError: nothing fits; with the least that is needed, and for what.
    """
    if not options.vram_budget:
        return options
    limit, made = options.vram_budget * GB, options
    for stage in ("text_encoder", "transformer", "vae"):
        if needed(made, work, stage):
            ways = [replace(made, **changes) for changes in _ways(made, work, stage)]
            found = next((way for way in ways if _bytes(way, work, stage) <= limit), None)
            if found is None:
                least = min(ways, key=lambda way: _bytes(way, work, stage))
                size, told = _bytes(least, work, stage) / GB, chosen(made, least)
                raise InputError(
                    f"--vram_budget {options.vram_budget:g}: the {stage.replace('_', ' ')} needs at least {size:.3g} GB"
                    + (f", with {told}" if told else "")
                )
            made = found
    return made


def leanest(options: Options, work: Work, stage: str) -> str:
    """The options with which a stage (by the name it is announced with) takes the least, and what that is."""
    name = STAGES.get(stage, "")
    if not name or not needed(options, work, name):
        return ""
    least = min((replace(options, **way) for way in _ways(options, work, name)), key=lambda o: _bytes(o, work, name))
    told = chosen(options, least)
    return f"{told} (predicted {_bytes(least, work, name) / GB:.3g} GB)" if told else ""


def needed(options: Options, work: Work, stage: str) -> bool:  # noqa: ARG001
    """Whether a run has a stage."""
    return options.decodes if stage == "vae" else options.latent_path is None


def chosen(asked: Options, made: Options) -> str:
    """What was completed, as words of a command line."""
    words = []
    if asked.blocks_to_swap != made.blocks_to_swap:
        words.append(f"--blocks_to_swap {made.blocks_to_swap}")
    if asked.passes_apart != made.passes_apart:
        words.append("--passes_apart")
    if (asked.tile_height, asked.tile_width) != (made.tile_height, made.tile_width):
        words.append(f"--vae_tiling {made.tile_height} {made.tile_width}")
    if asked.vae_cache_cpu != made.vae_cache_cpu:
        words.append("--vae_cache_cpu")
    return " ".join(words)


def _bytes(options: Options, work: Work, stage: str) -> float:
    return getattr(predict(options, work), stage) * MARGIN


def _ways(options: Options, work: Work, stage: str) -> Iterator[dict[str, Any]]:
    """What may be changed for a stage, the least costly first; nothing at all before everything."""
    if stage == "transformer":
        most = 0 if options.device == "mps" else work.config.num_layers
        asked = options.blocks_to_swap
        counts = [asked] if isinstance(asked, int) else range(most + 1)
        yield from ({"blocks_to_swap": count} for count in counts)
        if options.guided and not options.passes_apart:
            yield from ({"blocks_to_swap": count, "passes_apart": True} for count in counts if count)
    elif stage == "vae":
        caches: list[dict[str, Any]] = [{}]
        if options.device != "cpu" and not options.vae_cache_cpu:
            caches.append({"vae_cache_cpu": True})
        for tile in chain([{}], _tiles(options)):
            yield from ({**tile, **cache} for cache in caches)
    else:
        yield {}


def _tiles(options: Options) -> Iterator[dict[str, Any]]:
    """Tiles of half the sides, a third and so on; none if tiles were asked for already."""
    if options.tile_height or options.tile_width:
        return
    for parts in range(2, max(options.height, options.width) // SMALLEST_TILE + 1):
        sides = (_side(length, parts) for length in (options.height, options.width))
        yield dict(zip(("tile_height", "tile_width"), sides, strict=True))


def _side(length: int, parts: int) -> int:
    """A part of a side, in steps of the grid, not below the smallest tile unless the side is."""
    part = -(-length // parts // SIZE_MULTIPLE) * SIZE_MULTIPLE
    return min(length, max(part, SMALLEST_TILE))
