"""What PEFT and diffusers note beside the tensors of an adapter: the alpha of every module. Knows nothing of tensors.

PEFT writes it into `adapter_config.json`, beside the file; diffusers into the file's metadata.
Source: PEFT, `LoraConfig`, `LoHaConfig`, `LoKrConfig`; diffusers, `lora_adapter_metadata`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.weights.header import CheckpointHeader, checkpoint_files

KEY = "lora_adapter_metadata"
CONFIG = "adapter_config.json"
MAX_BYTES = 1 << 20
PREFIX = "transformer."
OWN = "base_model.model."
KINDS = ("LORA", "LOHA", "LOKR")
# Ways to begin the training that leave the transformer as it was; after the others the adapter fits a changed one.
HARMLESS = (True, False, "gaussian", "eva", "orthogonal", "lycoris")
# PEFT treats the names as patterns; "^" marks a whole name. Other patterns are not supported.
NAME = re.compile(r"\^?[\w.]+")


@dataclass(frozen=True)
class Pattern:
    """Numbers of listed modules, by "^" and the whole name or by "." and the end of it, and of all others."""

    listed: Mapping[str, float] = field(default_factory=dict)
    other: float | None = None

    def of(self, module: str) -> float | None:
        """The number of a module; None where nothing is noted."""
        parts = f".{module}".split(".")
        ends = ["^" + ".".join(parts[1:]), *("." + ".".join(parts[start:]) for start in range(1, len(parts)))]
        found = [self._order[end] for end in ends if end in self._order]
        return min(found)[1] if found else self.other

    @cached_property
    def _order(self) -> Mapping[str, tuple[int, float]]:
        """Name -> position in the list and number: the first name that fits a module counts."""
        return {end: (position, number) for position, (end, number) in enumerate(self.listed.items())}


@dataclass(frozen=True)
class PeftNotes:
    """The alphas and ranks of an adapter's modules. by_root: alpha is divided by the square root of the rank."""

    alpha: Pattern = Pattern()
    rank: Pattern = Pattern()
    by_root: bool = False

    def scale(self, module: str, rank: int | None) -> float:
        """By what a product is multiplied. rank: as its shapes say it; None where they do not, and the notes must."""
        alpha, known = self.alpha.of(module), rank or self.rank.of(module)
        if alpha is None or not known:
            return 1.0
        return alpha / (math.sqrt(known) if self.by_root else known)


def adapter_files(path: Path) -> list[Path]:
    """Every file that is read of an adapter, a file or a folder: its tensors, and PEFT's notes if they lie there.

    Raises:
        InputError: a folder that holds no adapter, or several.
    """
    files = checkpoint_files(path)
    return [*files, *(config for config in [files[0].parent / CONFIG] if config.is_file())]


def peft_notes(path: Path, header: CheckpointHeader) -> PeftNotes:
    """The notes on an adapter; without any, every alpha is the rank.

    Raises:
        InputError: the notes cannot be read, are of another kind of adapter, or are missed.
    """
    own = any(name.startswith(OWN) for name in header.entries)
    config = header.files[0].parent / CONFIG
    if KEY in header.metadata:
        notes = _Notes(f"{path}: its {KEY}", header)
        with Reading(notes.place):
            return notes.parse(header.metadata[KEY])
    if not own and not path.is_dir():
        return PeftNotes()
    if own and not config.is_file():
        raise InputError(f"{path}: is an adapter of PEFT's own, whose alpha stands in {CONFIG}, which is not beside it")
    notes = _Notes(str(config), header)
    with Reading(notes.place):
        return notes.parse(_read(config)) if config.is_file() else PeftNotes()


def _read(config: Path) -> str:
    if config.stat().st_size > MAX_BYTES:
        raise InputError(f"{config}: is larger than {MAX_BYTES} bytes")
    return config.read_text(encoding="utf-8")


@dataclass(frozen=True)
class _Notes:
    """Notes at a place, on the adapter with this header."""

    place: str
    header: CheckpointHeader

    def parse(self, text: str) -> PeftNotes:
        """Parse the notes."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.place} is not JSON") from error
        if not isinstance(found, dict):
            self._refuse("is not a table")
        notes = {str(name).removeprefix(PREFIX): value for name, value in found.items()}
        self._check_kind(notes)
        alpha = "lora_alpha" if "lora_alpha" in notes else "alpha"
        return PeftNotes(
            self._pattern(notes, alpha, "alpha_pattern"),
            self._pattern(notes, "r", "rank_pattern"),
            notes.get("use_rslora") is True,
        )

    def _check_kind(self, notes: Mapping[str, Any]) -> None:
        kind = notes.get("peft_type") or KINDS[0]
        begun = notes.get("init_lora_weights", notes.get("init_weights"))
        if kind not in KINDS:
            self._refuse(f"says that it is of the kind {ascii(kind)[:40]}, which is not read")
        if notes.get("use_dora") and not any("lora_magnitude_vector" in name for name in self.header.entries):
            self._refuse("says that it is a DoRA, of which the file holds no lora_magnitude_vector")
        if begun is not None and begun not in HARMLESS:
            self._refuse(f"says that training began with {ascii(begun)[:40]}, which changes the transformer, too")

    def _pattern(self, notes: Mapping[str, Any], name: str, listed: str) -> Pattern:
        table = notes.get(listed) or {}
        if not isinstance(table, dict):
            raise InputError(f"{self._of(listed)} is not a table")
        if odd := [module for module in table if not NAME.fullmatch(module)]:
            raise InputError(f"{self._of(listed)} has the name {ascii(odd[0])[:40]}, not a module's")
        numbers = dict(self._numbers(listed, table))
        value = notes.get(name)
        return Pattern(numbers, None if value is None else self._number(name, value))

    def _numbers(self, listed: str, table: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        for module, value in table.items():
            bare = module.removeprefix(PREFIX)
            yield bare if bare.startswith("^") else f".{bare}", self._number(listed, value)

    def _number(self, name: str, value: Any) -> float:  # noqa: ANN401
        if type(value) not in (int, float) or not abs(value) < math.inf:
            raise InputError(f"{self._of(name)} is {ascii(value)[:40]}; must be a finite number")
        try:
            return float(value)
        except OverflowError as error:
            raise InputError(f"{self._of(name)} is too large") from error

    def _of(self, name: str) -> str:
        """A value of the notes, at its place."""
        head, _, tail = self.place.rpartition(": ")
        return f"{head}: {name} in {tail}" if head else f"{tail}: {name}"

    def _refuse(self, rule: str) -> NoReturn:
        raise InputError(f"{self.place} {rule}")
