"""The names of optimisers and schedules, and whether their packages are there. Imports no PyTorch."""

from __future__ import annotations

from importlib.util import find_spec

from wan2.errors import InputError

OPTIMISERS = ("adamw", "adamw8bit")
SCHEDULES = ("constant", "linear", "cosine")
EIGHT_BIT = "bitsandbytes"


def check_optimiser(name: str) -> None:
    """Raise `InputError` when the package of an optimiser is absent. Imports nothing."""
    if name == "adamw8bit" and find_spec(EIGHT_BIT) is None:
        rule = f"the package {EIGHT_BIT} is not installed; pip install {EIGHT_BIT}"
        raise InputError(rule, field="optimiser", value=name)
