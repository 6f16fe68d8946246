"""The memory of a run, predicted by formula, stage by stage. Integers only; runs nothing, knows nothing of request.

Memory is what tensors take. What CUDA takes besides is assumed: `CUDA_CONTEXT` and `CUDA_WORKSPACES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from wan2.models.chunks import STAGING_BUFFERS, TOKENS_AT_ONCE
from wan2.models.config import TOKENS_PER_POSITION, TransformerConfig
from wan2.models.forms import FP8, FP8_BYTES, INT8, SCALE_BYTES, Form
from wan2.streaming.residency import ENCODER_RING_BYTES, RING_BLOCKS, weight_bytes
from wan2.text.tokenizer import TEXT_LENGTH

# Between two attentions the transformer works through a run of tokens at a time (`wan2.models.layers`), and there holds
# about this many fp32 copies of them: the modulated norm, queries or keys and what turns them.
RUN_COPIES = 4.6
# Wan2.1 VAE: values alive per pixel while a chunk of four frames is decoded; those of them that are remembered of the
# frames before; and what is alive when these wait on the host.
VAE_VALUES_PER_PIXEL, VAE_CACHE_PER_PIXEL, VAE_VALUES_WITHOUT_CACHE = 5080, 2365, 2900
# The width of its decoder, by which these go, and its weights.
VAE_WIDTH, VAE_WEIGHTS = 96, 126_892_531
# UMT5 feeds forward through 2.5 times its width, gated: 4 + 3 * 2.5 squares of the width a layer.
ENCODER_SQUARES, FEED_FORWARD_SQUARES = 11.5, 2.5
# Its heads are so wide. While a layer attends there are, beside so many copies of the text, a bias for every head and
# pair of positions, twice; where heads are few, what that is looked up by weighs more: bytes a pair.
ENCODER_HEAD, ENCODER_COPIES, PAIR_BYTES = 64, 6, 44
FP32 = 4
COLOURS = 3
# What CUDA takes of a card besides tensors, assumed: its context, then kernels loaded at their first use and cuBLAS's
# workspaces.
CUDA_CONTEXT, CUDA_WORKSPACES = 450_000_000, 150_000_000


class Attended(NamedTuple):
    """How many tokens' keys and values a self-attention holds at once, and how many of them it gathers."""

    keys: int
    gathered: int = 0


@dataclass(frozen=True)
class Memory:
    """Predicted bytes on the computing device, stage by stage; one stage's models leave before the next begins."""

    text_encoder: int
    transformer_weights: int
    transformer_work: int
    vae: int
    host: int
    """Beside the device, in the largest stage: streamed blocks, staging buffers for the largest tensor, and the latents
    in fp32; with tiles, the frames in fp32."""

    @property
    def transformer(self) -> int:
        """Weights of one expert that are on the device and everything alive while it runs."""
        return self.transformer_weights + self.transformer_work

    @property
    def peak(self) -> int:
        """The largest stage."""
        return max(self.text_encoder, self.transformer, self.vae)


@dataclass(frozen=True)
class Decoding:
    """How a video is decoded: its frames, the pixels of one and of a tile, and whether the cache waits on the host.

    width, weights: of the VAE, those of the Wan2.1 VAE where nothing else is known.
    """

    num_frames: int
    pixels: int
    tile: int
    cache_on_host: bool = False
    width: int = VAE_WIDTH
    weights: int = VAE_WEIGHTS

    def device(self, size: int) -> int:
        """Bytes on the device, of values that take `size` bytes: the weights, and four frames of one tile."""
        values = VAE_VALUES_WITHOUT_CACHE if self.cache_on_host else VAE_VALUES_PER_PIXEL
        return (self.weights + self.tile * values * self.width // VAE_WIDTH) * size

    def host(self, size: int) -> int:
        """Bytes beside it: the cache that waits there, the frames that tiles are put together in."""
        cache = self.tile * VAE_CACHE_PER_PIXEL * self.width // VAE_WIDTH * size if self.cache_on_host else 0
        frames = self.num_frames * (COLOURS + 1) * self.pixels * FP32 if self.tile < self.pixels else 0
        return cache + frames


@dataclass(frozen=True)
class Clip:
    """What the transformer works on: tokens of one sample, keys and values that are attended to at once, passes of a
    step (2 with guidance).
    """

    tokens: int
    attended: Attended
    passes: int = 1


@dataclass(frozen=True)
class ValueBytes:
    """Bytes of one value: in the transformer, in the text encoder, in the VAE. 0 stands for the one before it."""

    compute: int
    wide: int = 0
    vae: int = 0


@dataclass(frozen=True)
class Holding:
    """How the weights of a transformer are held.

    streamed: blocks that are offloaded; from_ram: they are kept in host memory, not read from disk; apart: the passes
    of a step run one after the other. held: the weights that are held in fewer bits; fast: the forms of these of which
    products are computed as they are held; encoder_value: bytes of a value in the text encoder's linear layers, if
    these are held in fewer bits, else 0. beside: values of the adapters beside the weights.
    """

    streamed: int = 0
    from_ram: bool = False
    apart: bool = False
    held: Mapping[str, Form] = field(default_factory=dict)
    fast: frozenset[str] = frozenset()
    encoder_value: float = 0
    beside: int = 0


def predict_memory(
    config: TransformerConfig, clip: Clip, decoding: Decoding, size: ValueBytes, holding: Holding = Holding()
) -> Memory:
    """Predicted memory of a run, stage by stage.

    Text encoder: the layers in the ring, and one of them at work on the longest text. Transformer: the weights of one
    expert that are on the device, and the work of a step, which is the stream of tokens, the keys and values that are
    attended to at once, the text of every pass, and the larger of two short moments: a chunk of tokens in fp32, or the
    keys that are gathered while their copy is made. With streamed blocks, both passes run block by block, so the
    stream of the other pass is alive too, unless they run apart. Held linear layers are multiplied out, half a block at
    a time, unless their products are computed as they are held (`fast`): then the input of the attention is kept in
    fp8, or sums in int32 are brought to fp32. VAE: see `Decoding`.
    """
    wide = size.wide or size.compute
    tokens, attended = clip.tokens, clip.attended
    token = config.dim * size.compute
    # Linears that are held in few bits: those of the self-attention are multiplied out together, then the feed-forward
    # with two of the cross-attention, when no keys of the stream are left.
    out = config.dim * size.compute if {form.kind for form in holding.held.values()} - holding.fast else 0
    chunk = min(tokens, TOKENS_AT_ONCE)
    run = int(RUN_COPIES * chunk * config.dim * FP32)
    sums = chunk * config.ffn_dim * (2 * FP32 + size.compute) if INT8 in holding.fast else 0
    # The input of keys and values that waits in fp8 for the queries, with a scale a token.
    quantised = attended.keys * (config.dim * FP8_BYTES + SCALE_BYTES) if FP8 in holding.fast else 0
    attention = 2 * attended.keys * token + quantised + 4 * config.dim * out + max(run, 2 * attended.gathered * token)
    work = tokens * token + max(attention, 2 * (config.dim + config.ffn_dim) * out + max(run, sums + 2 * chunk * token))
    # Each pass embeds its text; one block's keys and values of it, or those of all blocks for as long as the run.
    kept = config.num_layers if tokens <= TOKENS_PER_POSITION * TEXT_LENGTH else 1
    text = clip.passes * TEXT_LENGTH * token * (1 + 2 * kept)
    other_stream = tokens * token if holding.streamed and not holding.apart else 0
    weights = weight_bytes(config, size.compute, holding.held)
    return Memory(
        text_encoder=encoder_bytes(config.text_dim, wide, holding.encoder_value),
        transformer_weights=weights.on_device(holding.streamed) + holding.beside * size.compute,
        transformer_work=work + text + other_stream,
        vae=decoding.device(size.vae or wide),
        host=_host_bytes(config, tokens, weights.on_host(holding.streamed, holding.from_ram), size, decoding),
    )


def _host_bytes(config: TransformerConfig, tokens: int, waiting: int, size: ValueBytes, decoding: Decoding) -> int:
    largest = STAGING_BUFFERS * max(map(math.prod, config.tensor_shapes().values())) * size.compute
    latents = tokens * math.prod(config.patch_size) * config.out_dim * FP32
    return max(waiting + largest, decoding.host(size.vae or size.wide or size.compute)) + latents


def encoder_bytes(width: int, size: int, held_value: float = 0) -> int:
    """The layers of the text encoder that are on the device, and the work of one: of the longest text, values of `size`
    bytes. held_value: bytes of a value in its linears, if they are held in fewer bits, each multiplied out when used.
    """
    layer = int(width**2 * ENCODER_SQUARES * (held_value or size))
    held = RING_BLOCKS if RING_BLOCKS * layer <= ENCODER_RING_BYTES else 1
    pairs = TEXT_LENGTH**2 * max(2 * (width // ENCODER_HEAD) * size, PAIR_BYTES)
    work = pairs + ENCODER_COPIES * TEXT_LENGTH * width * size
    return held * layer + work + (int(width**2 * FEED_FORWARD_SQUARES * size) if held_value else 0)
