"""How int8 weights were made, as a file says of each: ConvRot turned groups of their columns, or none. No PyTorch.

ComfyUI says so in a tensor beside each weight, or in one note of the whole file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.weights.head import MARK, read_text
from wan2.weights.header import CheckpointHeader

if TYPE_CHECKING:
    from wan2.weights.sources import Source

INT8, FORMAT = "I8", "int8_tensorwise"
NOTE = "_quantization_metadata"
GROUP = 256
POWERS_OF_FOUR = tuple(4**n for n in range(1, 8))


def with_turns(path: Path | str, header: CheckpointHeader, sources: Mapping[str, Source]) -> dict[str, Source]:
    """The sources, those of int8 weights with the groups of columns that were turned.

    Raises:
        InputError: what is said of a weight is not read, or does not fit it.
    """
    found = dict(sources)
    noted = _noted(path, header.metadata)
    for native, source in sources.items():
        entry = header.entries[source.name]
        layer = source.name.removesuffix(".weight")
        if entry.dtype == INT8 and (said := _said(path, header, layer) or noted.get(layer)):
            found[native] = replace(source, turned=_group(path, source.name, entry.shape, said))
    return found


def _said(path: Path | str, header: CheckpointHeader, layer: str) -> dict[str, Any] | None:
    entry = header.entries.get(layer + MARK)
    return None if entry is None else _table(path, layer + MARK, read_text(entry))


def _noted(path: Path | str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the note of the whole file says of its layers."""
    layers = _table(path, NOTE, metadata[NOTE]).get("layers", {}) if NOTE in metadata else {}
    return layers if isinstance(layers, dict) else {}


def _table(path: Path | str, name: str, text: str) -> dict[str, Any]:
    with Reading(f"{path}: its {name}"):
        table = json.loads(text)
    if not isinstance(table, dict):
        raise InputError(f"{path}: its {name} is not a table")
    return table


def _group(path: Path | str, name: str, shape: tuple[int, ...], said: object) -> int:
    """The columns of a group that was turned, 0 where none was."""
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        form = ascii(said.get("format") if isinstance(said, dict) else said)[:60]
        raise InputError(f"{path}: tensor {name} is int8 of the format {form}; {FORMAT} is read")
    group = said.get("convrot_groupsize", GROUP) if said.get("convrot") else 0
    if group and (group not in POWERS_OF_FOUR or len(shape) != 2 or shape[1] % group):
        raise InputError(f"{path}: tensor {name} {list(shape)} cannot be turned in groups of {ascii(group)[:40]}")
    return int(group)
