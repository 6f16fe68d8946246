"""The versions of everything that decides the numbers of a run."""

from __future__ import annotations

import platform
from functools import cache

PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "safetensors", "av")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of every library that decides the numbers."""
    from importlib import metadata  # takes a tenth of the time that `--help` has

    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
