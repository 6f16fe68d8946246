"""What cards that share a video send each other, and how much faster they are than one. Runs nothing.

Time is that of the busiest card's operations, and after it that of what it sends: nothing is taken to overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wan2.models.config import TransformerConfig
from wan2.plan.split import Groups, Split, of_pair, of_token

LINKS = {"PCIe 4": 31.5e9, "PCIe 5": 63e9, "NVLink": 450e9}
"""Bytes a second, each way: 16 lanes of PCI Express, and NVLink of an H100, as published."""
LINK_SHARE = 0.8
"""The share of that which is assumed."""
FP32 = 4


@dataclass(frozen=True)
class Sharing:
    """Cards that share a video.

    split: who computes what. sent: the most bytes that a card sends, or gets, in a step with all passes. busiest: the
    share of a pass that the busiest card of that pass computes.
    """

    split: Split
    sent: int
    busiest: float

    @property
    def cards(self) -> int:
        """How many cards there are."""
        return self.split.passes * self.split.ways

    def speedup(self, step: tuple[float, float], rate: float, link: str) -> float:
        """How many times as fast as one card a step is.

        Args:
            step: operations of all passes of a step, and of the largest of them.
            rate: operations a card does in a second.
            link: what connects the cards, one of `LINKS`.
        """
        whole, largest = step
        busy = (largest if self.split.passes > 1 else whole) * self.busiest
        return whole / rate / (busy / rate + self.sent / (LINKS[link] * LINK_SHARE))


def make_sharing(
    split: Split, config: TransformerConfig, groups: Groups | None, tokens: int, passes: int, value_bytes: int
) -> Sharing:
    """What a split means for a video of so many tokens and passes a step; values take so many bytes in the transformer.

    groups: those of the self-attention, where it has any.
    """
    of_pass = exchanged(split, config, groups, tokens, value_bytes) * config.num_layers
    latents = tokens * math.prod(config.patch_size) * config.out_dim * FP32
    return Sharing(split, of_pass * passes // split.passes + latents, _busiest(split, config, groups, tokens))


def exchanged(split: Split, config: TransformerConfig, groups: Groups | None, tokens: int, value_bytes: int) -> int:
    """The most bytes that a card sends, or gets, in one block of one pass."""
    ways, token = split.ways, config.dim * value_bytes
    if ways == 1:
        return 0
    if groups is None or not split.owners:  # of queries, keys, values and results all but one's own heads
        return 4 * token * tokens * (ways - 1) // ways**2
    counts = [len(own) for own in split.owners]
    blocks = max(max(own * (ways - 1), sum(counts) - own) for own in counts)
    return 2 * token * groups.block * blocks  # keys and values


def _busiest(split: Split, config: TransformerConfig, groups: Groups | None, tokens: int) -> float:
    """The share of a pass that its busiest card computes: of the linears and the self-attention of a block."""
    linears = tokens * of_token(config)
    pairs = (tokens**2 if groups is None else sum(groups.pairs)) * of_pair(config)
    if groups is not None and split.owners:
        costs = groups.costs(config)
        return max(sum(costs[group] for group in own) for own in split.owners) / sum(costs)
    heads = -(-config.num_heads // split.ways) / config.num_heads
    return (linears / split.ways + pairs * heads) / (linears + pairs)
