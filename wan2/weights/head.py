"""What the beginning of a file of weights says, whatever its format. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wan2.weights.header import CheckpointHeader, StoredTensor, read_header
from wan2.weights.kinds.kind import Kind, Table
from wan2.weights.kinds.namer import kind_of
from wan2.weights.kinds.without import PICKLES
from wan2.weights.pickled_head import pickled_table

# ComfyUI's mark of a quantised layer: JSON, a few dozen bytes.
MARK, MAX_MARK = ".comfy_quant", 1 << 12


@dataclass(frozen=True)
class Head:
    """Every tensor of a file by name, dtype and shape; its free-text metadata; what it says of its quantisation."""

    tensors: Table = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What the file is."""
        return kind_of(self.tensors, self.notes)


def readable(path: Path) -> bool:
    """Whether a checkpoint has a header of its own, unlike PyTorch's files."""
    return path.suffix not in PICKLES


def read_head(path: Path, header: CheckpointHeader | None = None) -> Head:
    """The head of a safetensors file (of all its shards), or of a PyTorch file. header: if it was read already.

    Raises:
        InputError: the file cannot be read, contradicts itself, or is no table of tensors.
    """
    if not readable(path):
        return Head(pickled_table(path))
    return head_of(header or read_header(path))


def head_of(header: CheckpointHeader) -> Head:
    """The head of a safetensors file whose header was read."""
    return Head(header.tensors, header.metadata, _notes(header))


def _notes(header: CheckpointHeader) -> tuple[str, ...]:
    """What the first mark of a quantised layer says, if there is one."""
    marks = (entry for name, entry in header.entries.items() if name.endswith(MARK))
    first = next((entry for entry in marks if entry.end - entry.start <= MAX_MARK), None)
    return (read_text(first),) if first else ()


def read_text(entry: StoredTensor) -> str:
    """The bytes of a small tensor as text; none of one that is longer than a mark."""
    if entry.end - entry.start > MAX_MARK:
        return ""
    with entry.path.open("rb") as file:
        file.seek(entry.start)
        return file.read(entry.end - entry.start).decode("utf-8", "replace")
