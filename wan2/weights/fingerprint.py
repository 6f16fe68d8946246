"""Distinguishes two files of weights without reading all of them. Knows nothing of their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SLICES = 16
SLICE_BYTES = 1 << 16
HEAD_BYTES = 1 << 20


def fingerprint(files: Iterable[Path]) -> dict[str, Any]:
    """Names, size and a hash of sizes, first MiB and 16 even slices of each file.

    Cheap, and enough to distinguish weights; not secure against forgery.
    """
    files = list(files)
    digest, total = hashlib.sha256(), 0
    for path in files:
        size = path.stat().st_size
        total += size
        digest.update(str(size).encode())
        with path.open("rb") as file:
            digest.update(file.read(HEAD_BYTES))
            for i in range(SLICES):
                file.seek(size * i // SLICES)
                digest.update(file.read(SLICE_BYTES))
    return {"files": [path.name for path in files], "bytes": total, "fingerprint": digest.hexdigest()[:32]}
