"""What a run costs: operations exactly, memory by formula. Integers only; runs nothing.

Operations are those of matrix products, a multiplication and an addition counted as two, as
`torch.utils.flop_counter` counts them. Memory is what tensors take; the driver's own share is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from holocine_ext.layout import Range, ShotLayout
from wan2.loading.residency import RING_BLOCKS, blocks_held
from wan2.models.config import TransformerConfig
from wan2.models.runs import TOKENS_AT_ONCE
from wan2.sampling.experts import first_low_noise_step
from wan2.sampling.schedule import timesteps

# Between two attentions the transformer works through a run of tokens at a time (`wan2.models.layers`), and there holds
# about this many fp32 copies of them: the modulated norm, queries or keys and what turns them.
RUN_COPIES = 5.2
# Wan2.1 VAE: values alive per pixel while a chunk of four frames is decoded.
VAE_VALUES_PER_PIXEL = 5080
# UMT5 feeds forward through 2.5 times its width, gated: 4 + 3 * 2.5 squares of the width a layer.
ENCODER_SQUARES = 11.5


def attention_pairs(layout: ShotLayout, sparse: bool) -> int:
    """How many (query, key) pairs one self-attention scores: per shot N * (N + first frames), or tokens squared."""
    if not sparse:
        return layout.tokens**2
    shared = layout.num_shots * layout.tokens_per_frame
    return sum((b - a) * (b - a + shared) for a, b in layout.shots)


def text_pairs(layout: ShotLayout, key_ranges: Sequence[Sequence[Range]] | None, length: int) -> int:
    """How many (query, key) pairs one cross-attention scores; without windows every token sees all `length` keys."""
    if key_ranges is None:
        return layout.tokens * length
    seen = (sum(stop - start for start, stop in ranges) for ranges in key_ranges)
    return sum((b - a) * keys for (a, b), keys in zip(layout.shots, seen, strict=True))


def forward_flops(config: TransformerConfig, self_pairs: int, cross_pairs: int, tokens: int, length: int) -> int:
    """Operations of one pass of the transformer over `tokens` tokens and a text of `length` positions.

    A token of a block costs 12 * dim^2 in the six projections that follow the video, 4 * dim * ffn_dim in the
    feed-forward; a pair costs 4 * dim; a text position costs 4 * dim^2 in the keys and values of every block.
    """
    d = config.dim
    patch = math.prod(config.patch_size)
    block = tokens * (12 * d * d + 4 * d * config.ffn_dim) + 4 * d * (self_pairs + cross_pairs) + length * 4 * d * d
    ends = tokens * 2 * d * patch * (config.in_dim + config.out_dim)
    text = length * 2 * d * (config.text_dim + d)
    time = 2 * d * (config.freq_dim + 7 * d)
    return config.num_layers * block + ends + text + time


def count_passes(steps: int, shift: float, boundary: float, scale_high: float, scale_low: float) -> tuple[int, int]:
    """Passes of the transformer in a whole run: (with the prompt, with the negative prompt).

    The negative pass is run only where the guidance scale of the step's expert is not 1.
    """
    high = first_low_noise_step(timesteps(steps, shift), boundary)
    return steps, high * (scale_high != 1) + (steps - high) * (scale_low != 1)


@dataclass(frozen=True)
class Memory:
    """Predicted bytes on the computing device, stage by stage; one stage's models leave before the next begins."""

    text_encoder: int
    transformer_weights: int
    transformer_work: int
    vae: int
    host: int
    """Beside the device: streamed blocks, the largest tensor while loading, and the latents in fp32."""

    @property
    def transformer(self) -> int:
        """Weights of one expert that are on the device and everything alive while it runs."""
        return self.transformer_weights + self.transformer_work

    @property
    def peak(self) -> int:
        """The largest stage."""
        return max(self.text_encoder, self.transformer, self.vae)


def predict_memory(
    config: TransformerConfig,
    layout: ShotLayout,
    sparse: bool,
    pixels: int,
    size: int,
    streamed: int = 0,
    from_ram: bool = False,
) -> Memory:
    """Predicted memory of a run whose values take `size` bytes, with frames of `pixels` pixels.

    Text encoder: one layer. Transformer: one expert whole. Its work is the stream, keys and values (of all tokens; when
    sparse, of the longest shot and all first frames) and the larger of what two moments add: a run of tokens in fp32,
    or, when sparse, the first frames once more while their place is made. VAE: one chunk of four frames, whatever the
    length of the video. Of `streamed` blocks only those in the ring are on the device, but the stream of the other pass
    is, too; the host holds as many, or all of them `from_ram`.
    """
    weights = [math.prod(shape) for shape in config.tensor_shapes().values()]
    block = sum(map(math.prod, config.block_shapes().values())) * size
    off_device = (config.num_layers - blocks_held(streamed, config.num_layers)) * block
    waiting = (streamed if from_ram else min(streamed, RING_BLOCKS)) * block
    token = config.dim * size
    shared = layout.num_shots * layout.tokens_per_frame if sparse else 0
    keys = max(b - a for a, b in layout.shots) + shared if sparse else layout.tokens
    run = RUN_COPIES * min(layout.tokens, TOKENS_AT_ONCE) * config.dim * 4
    other_stream = layout.tokens * token if streamed else 0
    return Memory(
        text_encoder=int(ENCODER_SQUARES * config.text_dim**2) * size,
        transformer_weights=sum(weights) * size - off_device,
        transformer_work=(layout.tokens + 2 * keys) * token + int(max(run, 2 * shared * token)) + other_stream,
        vae=pixels * VAE_VALUES_PER_PIXEL * size,
        host=waiting + max(weights) * size + layout.tokens * math.prod(config.patch_size) * config.out_dim * 4,
    )
