"""What a run costs beyond the base's share: operations, exactly, and the keys of attention. Integers; runs nothing.

Operations are those of matrix products, a multiplication and an addition counted as two, as
`torch.utils.flop_counter` counts them. Memory is predicted by `wan2.plan.memory`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from holocine_ext.shots.layout import Range, ShotLayout
from wan2.models.config import TransformerConfig
from wan2.plan.memory import Attended
from wan2.plan.split import Groups
from wan2.sampling.experts import first_low_noise_step
from wan2.sampling.schedule import first_unguided_step

SHOTS = "shots"
"""What cards that share a video by whole shots are asked for by."""


def attention_pairs(layout: ShotLayout, sparse: bool) -> int:
    """How many (query, key) pairs one self-attention scores: per shot N * (N + first frames), or tokens squared."""
    if not sparse:
        return layout.tokens**2
    shared = layout.num_shots * layout.tokens_per_frame
    return sum((b - a) * (b - a + shared) for a, b in layout.shots)


def shot_groups(layout: ShotLayout) -> Groups:
    """The shots as groups by which several cards can share a video with sparse attention."""
    return Groups(SHOTS, tuple(b - a for a, b in layout.shots), layout.tokens_per_frame)


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


def count_passes(
    times: Sequence[float], boundary: float, scales: tuple[float, float], cfg_skip: float
) -> tuple[int, int]:
    """Passes of the transformer in a whole run: (with the prompt, with the negative prompt); fewer with a step cache.

    `times` are the timesteps of the run, which decide which expert takes a step; `scales` the guidance scales of the
    high-noise and of the low-noise expert.
    The negative pass is run only where the guidance scale of the step's expert is not 1, and not in the share
    `cfg_skip` of the steps, at the end.
    """
    scale_high, scale_low = scales
    guided = first_unguided_step(len(times), cfg_skip)
    high = min(guided, first_low_noise_step(times, boundary))
    return len(times), high * (scale_high != 1) + (guided - high) * (scale_low != 1)


def attended(layout: ShotLayout, sparse: bool) -> Attended:
    """How many tokens' keys and values a self-attention holds at once, the kernel working shot by shot.

    Of all tokens; when sparse, of the longest shot and of all first frames, which are there once more while their place
    is made.
    """
    shared = layout.num_shots * layout.tokens_per_frame
    return Attended(max(b - a for a, b in layout.shots) + shared, shared) if sparse else Attended(layout.tokens)
