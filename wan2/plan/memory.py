"""The memory of a run, predicted by formula, stage by stage. Integers only; runs nothing, knows nothing of options.

Memory is what tensors take; the driver's own share is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from wan2.models.chunks import TOKENS_AT_ONCE
from wan2.models.config import TOKENS_PER_POSITION, TransformerConfig
from wan2.streaming.residency import ENCODER_RING_BYTES, FP8_BYTES, RING_BLOCKS, SCALE_BYTES, weight_bytes
from wan2.text.tokenizer import TEXT_LENGTH

# Between two attentions the transformer works through a run of tokens at a time (`wan2.models.layers`), and there holds
# about this many fp32 copies of them: the modulated norm, queries or keys and what turns them.
RUN_COPIES = 5.2
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
    """Beside the device, in the largest stage: streamed blocks, the largest tensor while loading, and the latents in
    fp32; with tiles, the frames in fp32."""

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


def predict_memory(
    config: TransformerConfig,
    tokens: int,
    attended: Attended,
    decoding: Decoding,
    size: int,
    streamed: int = 0,
    from_ram: bool = False,
    fp8: Collection[str] = (),
    fast: bool = False,
    fp8_t5: bool = False,
    wide: int = 0,
    vae: int = 0,
    passes: int = 1,
    apart: bool = False,
) -> Memory:
    """Predicted memory of a run of `tokens` tokens whose values take `size` bytes, in the text encoder `wide` bytes and
    in the VAE `vae`; where these are 0, `size` and `wide`.

    Text encoder: the layers in the ring, and one of them at work on the longest text. Transformer: one expert whole.
    Its work is the stream, the keys and values that are `attended` at once, and the larger of what two moments add: a
    run of tokens in fp32, or what is gathered once more while its place is made; and the text of `passes` passes.
    VAE: see `Decoding`. Of `streamed` blocks only those in the ring are on the device, but unless the passes run
    `apart` the stream of the other pass is, too; the host holds as many, or all of them `from_ram`. Of a linear in
    `fp8`, by the name of its weight, the weight is multiplied out where it is used, unless the products are in fp8
    (`fast`): then the input of the attention is kept in fp8. In the text encoder it is so with `fp8_t5`.
    """
    weights, wide = weight_bytes(config, size, fp8), wide or size
    vae = vae or wide
    token = config.dim * size
    multiplied_out = config.dim * config.ffn_dim * size if fp8 and not fast else 0
    # The input of keys and values that waits in fp8 for the queries, with a scale a token.
    quantised = attended.keys * (config.dim * FP8_BYTES + SCALE_BYTES) if fp8 and fast else 0
    run = int(RUN_COPIES * min(tokens, TOKENS_AT_ONCE) * config.dim * FP32) + multiplied_out
    work = (tokens + 2 * attended.keys) * token + quantised + max(run, 2 * attended.gathered * token)
    latents = tokens * math.prod(config.patch_size) * config.out_dim * FP32
    # Each pass embeds its text; one block's keys and values of it, or those of all blocks for as long as the run.
    kept = config.num_layers if tokens <= TOKENS_PER_POSITION * TEXT_LENGTH else 1
    text = passes * TEXT_LENGTH * token * (1 + 2 * kept)
    largest = max(map(math.prod, config.tensor_shapes().values()))
    other_stream = tokens * token if streamed and not apart else 0
    return Memory(
        text_encoder=encoder_bytes(config.text_dim, wide, fp8_t5),
        transformer_weights=weights.on_device(streamed),
        transformer_work=work + text + other_stream,
        vae=decoding.device(vae),
        host=max(weights.on_host(streamed, from_ram) + largest * size, decoding.host(vae)) + latents,
    )


def encoder_bytes(width: int, size: int, fp8: bool) -> int:
    """The layers of the text encoder that are on the device, and the work of one: of the longest text, values of `size`
    bytes; in fp8 with the largest linear multiplied out."""
    layer = int(width**2 * ENCODER_SQUARES * (FP8_BYTES if fp8 else size))
    held = RING_BLOCKS if RING_BLOCKS * layer <= ENCODER_RING_BYTES else 1
    pairs = TEXT_LENGTH**2 * max(2 * (width // ENCODER_HEAD) * size, PAIR_BYTES)
    work = pairs + ENCODER_COPIES * TEXT_LENGTH * width * size
    return held * layer + work + (int(width**2 * FEED_FORWARD_SQUARES * size) if fp8 else 0)
