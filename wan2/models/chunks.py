"""Long things in runs that fit anywhere. Knows nothing of PyTorch or of what is cut up."""

from __future__ import annotations

from collections.abc import Iterator

# Enough to fill a large card (a linear of 5120 x 5120 is 640 tiles of 128 x 256 then), and no more memory than that.
TOKENS_AT_ONCE = 4096


def runs(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut start..stop into runs of at most `TOKENS_AT_ONCE`, as even as they go: none is a mere remainder."""
    length = stop - start
    count = -(-length // TOKENS_AT_ONCE)
    for i in range(count):
        yield start + length * i // count, start + length * (i + 1) // count
