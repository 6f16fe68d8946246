"""How much of a model is offloaded, and what else is chosen, so that a run fits into memory. One model for `auto`,
`--vram_budget` and `--dry_run`. Loads nothing; results are the same to the last bit, but for tiles, which blend where
they meet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, get_args

from wan2.errors import InputError
from wan2.models.config import A14B, TransformerConfig
from wan2.models.forms import FP8_BYTES, Form
from wan2.models.kernel_table import AUTO
from wan2.plan.files import Files
from wan2.plan.memory import (
    CUDA_CONTEXT,
    CUDA_WORKSPACES,
    VAE_WEIGHTS,
    VAE_WIDTH,
    Attended,
    Clip,
    Decoding,
    Holding,
    Memory,
    ValueBytes,
    predict_memory,
)
from wan2.plan.split import Groups, Split, plan_split
from wan2.request.request import Request
from wan2.shapes import SIZE_MULTIPLE
from wan2.weights.head import readable
from wan2.weights.held import held_weights, packed_value
from wan2.weights.sources import TransformerFile
from wan2.weights.vae_names import config_from_shapes, to_diffusers

GB = 1e9
# What a prediction may be short of, and what tensors that come and go leave unused between them. The weights of a
# transformer are known, and stay: an allocator only rounds their sizes up.
MARGIN, WEIGHTS_MARGIN = 1.1, 1.02
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# The text encoder and the VAE overflow float16: with it, they compute in float32.
WIDE = {"float16": 4}
EXCHANGED = 3
SMALLEST_TILE = 4 * SIZE_MULTIPLE
Part = Literal["text_encoder", "transformer", "vae"]
"""A model of a run, which is on the device while the others are not."""


@dataclass(frozen=True)
class Work:
    """What decides the memory of a run besides its request.

    config, held: of a transformer, and its weights that are held in fewer bits. attended: what its self-attention holds
    at once, None for the whole video. vae: the width of its decoder, and its weights. encoder_value: bytes of a value
    in the linears of the text encoder, 0 for those of the compute dtype. beside: values of the adapters beside the
    weights. split: how several cards share the video.
    """

    config: TransformerConfig
    held: Mapping[str, Form] = field(default_factory=dict)
    attended: Attended | None = None
    vae: tuple[int, int] = (VAE_WIDTH, VAE_WEIGHTS)
    encoder_value: float = 0
    beside: int = 0
    split: Split | None = None


def work_of(
    request: Request,
    files: Files,
    transformer: TransformerFile | None,
    attended: Attended | None = None,
    groups: Groups | None = None,
) -> Work:
    """The work of a run whose files are there; of saved latents, which need no transformer, that of the published one.

    Raises:
        InputError: the VAE's file cannot be read, or cards cannot share the video as asked.
    """
    vae = vae_size(request, files)
    if transformer is None:
        return Work(A14B, vae=vae)
    held = held_weights(transformer, request.compute.quantises)
    split = plan_split(request, transformer.config, groups)
    beside = files.values_beside(request.model, transformer.config)
    return Work(transformer.config, held, attended, vae, encoder_value(request, files), beside, split)


def encoder_value(request: Request, files: Files) -> float:
    """Bytes of a value in the linears of the text encoder, where they are held in fewer bits, else 0.

    Raises:
        InputError: the text encoder's file cannot be read.
    """
    path = request.model.t5
    packed = packed_value(files.header(path)) if readable(path) and path.is_file() else 0
    return packed or (FP8_BYTES if request.compute.fp8_t5 else 0)


def vae_size(request: Request, files: Files) -> tuple[int, int]:
    """Width of the decoder and number of weights of a VAE; as published, where only PyTorch could tell.

    Raises:
        InputError: the file is no safetensors file.
    """
    path = request.model.vae
    if not readable(path) or not path.is_file():
        return VAE_WIDTH, VAE_WEIGHTS
    shapes = files.header(path).shapes
    names = to_diffusers(shapes)
    config = config_from_shapes({names[name]: shape for name, shape in shapes.items()})
    return (config["decoder_base_dim"] if config else VAE_WIDTH), sum(map(math.prod, shapes.values()))


def value_bytes(request: Request) -> int:
    """Bytes of a value in the compute dtype; `auto` is float32 on a processor, bfloat16 elsewhere."""
    compute = request.compute
    return BYTES.get(compute.dtype, BYTES["float32" if compute.device == "cpu" else "bfloat16"])


def predict(request: Request, work: Work) -> Memory:
    """The memory of a run; with `auto`, of one whose blocks are all on the device."""
    compute, shape = request.compute, request.shape
    size, wide = value_bytes(request), WIDE.get(compute.dtype, value_bytes(request))
    rows, columns = (compute.tile_height or shape.height), (compute.tile_width or shape.width)
    tile = min(rows, shape.height) * min(columns, shape.width)
    pixels = shape.height * shape.width
    return predict_memory(
        work.config,
        _clip(request, work),
        Decoding(shape.num_frames, pixels, tile, compute.vae_cache_cpu, *work.vae),
        ValueBytes(size, wide, BYTES.get(request.model.vae_dtype, wide)),
        Holding(
            streamed=compute.blocks_to_swap if isinstance(compute.blocks_to_swap, int) else 0,
            from_ram=compute.weights_from == "ram",
            apart=compute.passes_apart or not request.guided,
            held=work.held,
            fast=compute.fast,
            encoder_value=work.encoder_value,
            beside=work.beside,
        ),
    )


def _clip(request: Request, work: Work) -> Clip:
    """What the transformer works on, on the card that has the most of it."""
    attended, passes = work.attended or Attended(request.shape.tokens), 2 if request.guided else 1
    if work.split is None:
        return Clip(request.shape.tokens, attended, passes)
    own = max(sum(b - a for a, b in rows) for rows in work.split.rows)
    if work.split.ways > 1 and not work.split.owners:  # queries, keys and values before and after heads are exchanged
        attended = Attended(EXCHANGED * own)
    return Clip(own, attended, passes // work.split.passes or 1)


def device_bytes(request: Request, work: Work, part: Part) -> float:
    """What a part needs of a device: its tensors as predicted, with a margin, and what CUDA takes."""
    memory = predict(request, work)
    tensors = transformer_bytes(memory) if part == "transformer" else getattr(memory, part) * MARGIN
    return float(tensors + cuda_bytes(request))


def transformer_bytes(memory: Memory) -> float:
    """What is predicted for a transformer, with a margin."""
    return memory.transformer_weights * WEIGHTS_MARGIN + memory.transformer_work * MARGIN


def cuda_bytes(request: Request) -> int:
    """What CUDA takes of the device besides tensors, assumed; nothing where there is no CUDA."""
    return 0 if request.compute.device in ("cpu", "mps") else CUDA_CONTEXT + CUDA_WORKSPACES


def within_budget(request: Request, work: Work) -> Request:
    """The request, completed so that every part is predicted to stay within `vram_budget`; what is given stays.

    Raises:
        InputError: nothing fits; with the least that is needed, and for what.
    """
    budget, made = request.compute.vram_budget, request
    if not budget:
        return request
    for part in get_args(Part):
        if needed(made, part):
            found = _first_within(made, work, part, budget * GB)
            if found is None:
                least = _leanest(made, work, part)
                size, words = device_bytes(least, work, part) / GB, chosen(made, least)
                rule = f"the {part.replace('_', ' ')} needs at least {size:.3g} GB"
                raise InputError(rule + (f", with {words}" if words else ""), field="vram_budget", value=f"{budget:g}")
            made = found
    return made


def within_memory(request: Request, work: Work, free: int | None) -> Request:
    """The request with `auto` decided for a device of so many free bytes: what fits, or else takes the least.

    None for a device that does not say what is free: nothing is offloaded there. On a GPU the VAE is fitted, too; on
    a processor, whose memory is the host's, it is not, because tiles change the picture where they meet. What is free
    on a GPU is what CUDA's context left.
    """
    if request.compute.blocks_to_swap != AUTO:
        return request
    if free is None:
        return request.computing(blocks_to_swap=0)
    on_cpu = request.compute.device == "cpu"
    parts: tuple[Part, ...] = ("transformer",) if on_cpu else ("transformer", "vae")
    limit = free if on_cpu else free + CUDA_CONTEXT
    for part in parts:
        if needed(request, part):
            request = _first_within(request, work, part, limit) or _leanest(request, work, part)
    return request


def leanest(request: Request, work: Work, part: Part | None) -> str:
    """The settings with which a part takes the least, and what that is; empty where nothing is to be gained."""
    if part is None or not needed(request, part):
        return ""
    least = _leanest(request, work, part)
    words = chosen(request, least)
    return f"{words} (predicted {device_bytes(least, work, part) / GB:.3g} GB)" if words else ""


def needed(request: Request, part: Part) -> bool:
    """Whether a run has a part."""
    return request.output.decodes if part == "vae" else request.latent_path is None


def chosen(asked: Request, made: Request) -> str:
    """What was completed, setting by setting."""
    before, after = asked.compute, made.compute
    words = []
    if before.blocks_to_swap != after.blocks_to_swap:
        words.append(f"`blocks_to_swap` {after.blocks_to_swap}")
    if before.passes_apart != after.passes_apart:
        words.append("`passes_apart`")
    if (before.tile_height, before.tile_width) != (after.tile_height, after.tile_width):
        words.append(f"`tile_height` {after.tile_height} {after.tile_width}")
    if before.vae_cache_cpu != after.vae_cache_cpu:
        words.append("`vae_cache_cpu`")
    return " ".join(words)


def all_together(request: Request, work: Work) -> float:
    """Bytes of a run whose models all stay on the device: text encoder, both experts, VAE, and the largest work."""
    memory = predict(request, work)
    return (memory.peak + 2 * memory.transformer_weights + memory.text_encoder + memory.vae) * MARGIN + cuda_bytes(
        request
    )


def _first_within(request: Request, work: Work, part: Part, limit: float) -> Request | None:
    return next((way for way in _ways(request, work, part) if device_bytes(way, work, part) <= limit), None)


def _leanest(request: Request, work: Work, part: Part) -> Request:
    return min(_ways(request, work, part), key=lambda way: device_bytes(way, work, part))


def _ways(request: Request, work: Work, part: Part) -> Iterator[Request]:
    """The request with what may be changed for a part, the least costly first; nothing at all before everything."""
    changes = {"transformer": _streaming, "vae": _tiling}.get(part, lambda *_: iter([{}]))
    yield from (request.computing(**change) for change in changes(request, work))


def _streaming(request: Request, work: Work) -> Iterator[dict[str, Any]]:
    compute = request.compute
    most = 0 if compute.device == "mps" else work.config.num_layers
    asked = compute.blocks_to_swap
    counts = [asked] if isinstance(asked, int) else range(most + 1)
    yield from ({"blocks_to_swap": count} for count in counts)
    if request.guided and not compute.passes_apart:
        yield from ({"blocks_to_swap": count, "passes_apart": True} for count in counts if count)


def _tiling(request: Request, work: Work) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    compute = request.compute
    caches: list[Mapping[str, Any]] = [{}]
    if compute.device != "cpu" and not compute.vae_cache_cpu:
        caches.append({"vae_cache_cpu": True})
    for tile in chain([{}], _tiles(request)):
        yield from ({**tile, **cache} for cache in caches)


def _tiles(request: Request) -> Iterator[dict[str, Any]]:
    """Tiles of half the sides, a third and so on; none if tiles were asked for already."""
    if request.compute.tile_height or request.compute.tile_width:
        return
    for parts in range(2, max(request.height, request.width) // SMALLEST_TILE + 1):
        sides = (_side(length, parts) for length in (request.height, request.width))
        yield dict(zip(("tile_height", "tile_width"), sides, strict=True))


def _side(length: int, parts: int) -> int:
    """A part of a side, in steps of the grid, not below the smallest tile unless the side is."""
    part = -(-length // parts // SIZE_MULTIPLE) * SIZE_MULTIPLE
    return min(length, max(part, SMALLEST_TILE))
