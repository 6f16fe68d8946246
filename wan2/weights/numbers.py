"""The few numbers of small tensors, read without PyTorch. Knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wan2.weights.dtypes import decode_numbers

if TYPE_CHECKING:
    from wan2.weights.header import StoredTensor


def read_numbers(entries: Iterable[StoredTensor]) -> Iterator[tuple[float, ...]]:
    """The values of each tensor in turn; every file is opened once. All dtypes must have a `code` in `DTYPES`."""
    opened: dict[Path, BinaryIO] = {}
    with ExitStack() as stack:
        for entry in entries:
            if entry.path not in opened:
                opened[entry.path] = stack.enter_context(entry.path.open("rb"))
            file = opened[entry.path]
            file.seek(entry.start)
            yield decode_numbers(file.read(entry.end - entry.start), entry.dtype)
