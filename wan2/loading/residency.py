"""Which blocks of a transformer stay on the device, in integers. Knows nothing of PyTorch."""

from __future__ import annotations

import math

from wan2.models.config import TransformerConfig

# One block computes while the next arrives.
RING_BLOCKS = 2
# Beside the weights: tensors as long as the video that are alive at once, at most (two streams, keys and values, and
# for an attention that has no parts queries and results), and bytes for everything that does not grow with the video.
LONG_TENSORS = 6
SPARE_BYTES = 2_000_000_000


def spread(count: int, layers: int) -> tuple[int, ...]:
    """`count` of `layers` blocks, as evenly apart as they go: the longer between two, the more hides in between."""
    return tuple(i * layers // count for i in range(count))


def blocks_held(streamed: int, layers: int) -> int:
    """How many blocks are on the device at once: the resident ones and the ring."""
    return layers - streamed + (RING_BLOCKS if streamed else 0)


def blocks_to_stream(free: int, config: TransformerConfig, tokens: int, item_bytes: int) -> int:
    """How many blocks must be streamed for a transformer and its work to fit into `free` bytes of its device.

    tokens: those of one sample; item_bytes: of a value in the compute dtype.
    """
    total = sum(map(math.prod, config.tensor_shapes().values())) * item_bytes
    block = sum(map(math.prod, config.block_shapes().values())) * item_bytes
    room = free - LONG_TENSORS * tokens * config.dim * item_bytes - SPARE_BYTES
    if total <= room:
        return 0
    others = total - config.num_layers * block
    return min(config.num_layers, max(0, config.num_layers - (room - others) // block + RING_BLOCKS))
