"""The notes that diffusers leaves in the metadata of a LoRA file: the alpha of every module. Knows nothing of tensors.

Source: diffusers, `lora_adapter_metadata`; PEFT, `LoraConfig`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.parsing import Reading

KEY = "lora_adapter_metadata"
PREFIX = "transformer."
# PEFT treats the names as patterns; "^" marks a whole name. Other patterns are not supported.
NAME = re.compile(r"\^?[\w.]+")


@dataclass(frozen=True)
class PeftNotes:
    """The alphas of a LoRA's modules.

    lora_alpha: of every module that is not listed. alpha_pattern: of listed modules, by "^" and the whole name or by
    "." and the end of it. by_root: whether alpha is divided by the square root of the rank, not by the rank.
    """

    lora_alpha: float | None = None
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    by_root: bool = False

    def alpha(self, module: str) -> float | None:
        """The alpha of a module; None where nothing is noted, and then it is the rank."""
        parts = f".{module.removeprefix(PREFIX)}".split(".")
        ends = ["^" + ".".join(parts[1:]), *("." + ".".join(parts[start:]) for start in range(1, len(parts)))]
        found = [self._order[end] for end in ends if end in self._order]
        return min(found)[1] if found else self.lora_alpha

    @cached_property
    def _order(self) -> Mapping[str, tuple[int, float]]:
        """Name -> position in the pattern and alpha: the first name that fits a module counts."""
        return {end: (position, alpha) for position, (end, alpha) in enumerate(self.alpha_pattern.items())}


def peft_notes(path: Path, metadata: Mapping[str, str]) -> PeftNotes:
    """The notes in a file's metadata; without any, every alpha is the rank.

    Raises:
        InputError: the notes cannot be read, or are of another kind of adapter.
    """
    if KEY not in metadata:
        return PeftNotes()
    with Reading(f"{path}: its {KEY}"):
        return _notes(path, metadata)


def _notes(path: Path, metadata: Mapping[str, str]) -> PeftNotes:
    """Parse the notes."""
    try:
        found = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its {KEY} is not JSON") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: its {KEY} is not a table")
    notes = {str(name).removeprefix(PREFIX): value for name, value in found.items()}
    if notes.get("use_dora"):
        raise InputError(f"{path}: its {KEY} says that it is a DoRA, which is not read")
    pattern = notes.get("alpha_pattern") or {}
    if not isinstance(pattern, dict):
        raise InputError(f"{path}: the alpha_pattern of its {KEY} is not a table")
    if odd := [name for name in pattern if not NAME.fullmatch(name)]:
        raise InputError(f"{path}: the alpha_pattern of its {KEY} has the name {ascii(odd[0])[:40]}, not a module's")
    named = {name.removeprefix(PREFIX): _number(path, "alpha_pattern", value) for name, value in pattern.items()}
    alphas = {name if name.startswith("^") else f".{name}": value for name, value in named.items()}
    alpha = notes.get("lora_alpha")
    alpha = None if alpha is None else _number(path, "lora_alpha", alpha)
    return PeftNotes(alpha, alphas, notes.get("use_rslora") is True)


def _number(path: Path, name: str, value: Any) -> float:  # noqa: ANN401
    if type(value) not in (int, float) or not abs(value) < math.inf:
        raise InputError(f"{path}: {name} in its {KEY} is {ascii(value)[:40]}; must be a finite number")
    try:
        return float(value)
    except OverflowError as error:
        raise InputError(f"{path}: {name} in its {KEY} is too large") from error
