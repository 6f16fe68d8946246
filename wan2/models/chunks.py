"""How much goes at a time, in integers. Knows nothing of PyTorch or of what is cut."""

from __future__ import annotations

from collections.abc import Iterator

# Enough to fill a large GPU (a linear of 5120 x 5120 is then 640 tiles of 128 x 256) without more memory than needed.
TOKENS_AT_ONCE = 4096
# While one tensor is copied to a GPU, the next is read: buffers of host memory that take turns.
STAGING_BUFFERS = 2


def chunks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut start..stop into chunks of at most `TOKENS_AT_ONCE`, as equal as possible."""
    length = stop - start
    count = -(-length // TOKENS_AT_ONCE)
    for i in range(count):
        yield start + length * i // count, start + length * (i + 1) // count
