"""Which blocks of a transformer stay on the device, in integers. Knows nothing of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wan2.models.config import TransformerConfig
    from wan2.models.forms import Form

# One block computes while the next is copied.
RING_BLOCKS = 2
# What the layers of the text encoder on the device may take together: two in bfloat16, one in fp32.
ENCODER_RING_BYTES = 1_000_000_000


def spread(count: int, layers: int) -> tuple[int, ...]:
    """`count` of `layers` blocks, spread evenly: the blocks in between give time to fetch the next one."""
    return tuple(i * layers // count for i in range(count))


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a transformer's weights in memory: of each block, and of everything else."""

    blocks: tuple[int, ...]
    others: int

    def on_device(self, streamed: int) -> int:
        """Bytes on the device when `streamed` blocks are streamed: all other weights, and the ring."""
        waiting = self._streamed(streamed)
        return self.others + sum(self.blocks) - sum(waiting) + RING_BLOCKS * max(waiting, default=0)

    def on_host(self, streamed: int, from_ram: bool) -> int:
        """Bytes in host memory: every streamed block, or only the staging buffers."""
        waiting = self._streamed(streamed)
        return sum(waiting) if from_ram else min(len(waiting), RING_BLOCKS) * max(waiting, default=0)

    def _streamed(self, count: int) -> list[int]:
        return [self.blocks[index] for index in spread(count, len(self.blocks))]


def weight_bytes(config: TransformerConfig, item_bytes: int, held: Mapping[str, Form] | None = None) -> WeightBytes:
    """Bytes of a transformer whose values take `item_bytes`, except for the weights that are held in fewer bits."""
    blocks, others, forms = [0] * config.num_layers, 0, held or {}
    for name, shape in config.tensor_shapes().items():
        size = forms[name].nbytes(shape) if name in forms else math.prod(shape) * item_bytes
        if name.startswith("blocks."):
            blocks[int(name.split(".")[1])] += size
        else:
            others += size
    return WeightBytes(tuple(blocks), others)
