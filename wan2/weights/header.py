"""The header of a safetensors file, checked before it is trusted. Knows nothing of models; reads no weights.

A file that begins as GGUF is read as that, whatever its name; its head becomes the same record.

Source: the safetensors format (8 bytes of header length, a JSON header, one packed buffer).
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.weights.dtypes import DTYPES, byte_length
from wan2.weights.gguf_head import MAGIC as GGUF
from wan2.weights.gguf_head import read_gguf_head
from wan2.weights.kinds.without import without_weights

# The format allows 100 MB, which a parser can turn into gigabytes; twenty times the largest known header is enough.
MAX_HEADER_BYTES = 8 << 20
MAX_RANK = 16
# All files of a checkpoint together; fifteen times the tensors of the published transformers.
MAX_TENSORS, MAX_NAME, MAX_SHARDS = 1 << 14, 256, 1 << 10

SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<end>\.safetensors)")


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file: dtype as the format spells it, and the position of its bytes from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int
    path: Path


@dataclass(frozen=True)
class CheckpointHeader:
    """Every tensor of a checkpoint, its free-text metadata, and its files, one or many."""

    entries: dict[str, StoredTensor]
    metadata: dict[str, str]
    files: tuple[Path, ...] = ()

    @property
    def tensors(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Name -> (dtype, shape)."""
        return {name: (entry.dtype, entry.shape) for name, entry in self.entries.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: entry.shape for name, entry in self.entries.items()}


def read_header(path: Path | str) -> CheckpointHeader:
    """Header of a safetensors file, of all files of a sharded one (a folder, or its `.index.json`), or of a GGUF file.

    Raises `InputError`, one line naming the file, when it is absent, truncated, neither format, or when its header
    contradicts itself or the size of the file.
    """
    entries: dict[str, StoredTensor] = {}
    metadata: dict[str, str] = {}
    files = checkpoint_files(Path(path))
    for file in files:
        with Reading(str(file)):
            header = _read_one(file)
        if len(entries) + len(header.entries) > MAX_TENSORS:
            _refuse(file, f"has {len(entries) + len(header.entries)} tensors; must be at most {MAX_TENSORS}")
        if twice := sorted(entries.keys() & header.entries.keys()):
            raise InputError(f"{file}: tensor {twice[0]} is also in {entries[twice[0]].path.name}")
        entries |= header.entries
        metadata |= header.metadata
    return CheckpointHeader(entries, metadata, tuple(files))


def checkpoint_files(path: Path) -> list[Path]:
    """The file at `path`; all shards where it is one of them, their index, or a folder with exactly one checkpoint."""
    if path.is_dir():
        indices = sorted(path.glob("*.safetensors.index.json"))
        found = indices or sorted(path.glob("*-00001-of-*.safetensors")) or sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            raise InputError(f"{path}: is a folder with {len(found)} checkpoints; name one .safetensors file")
        path = found[0]
    if path.suffix != ".json":
        return _with_siblings(path)
    if path.is_file() and path.stat().st_size > MAX_HEADER_BYTES:
        _refuse(path, f"is larger than {MAX_HEADER_BYTES} bytes")
    try:
        index = json.loads(path.read_bytes())
        names = sorted({Path(file).name for file in index["weight_map"].values()})
        if not all(name.isprintable() for name in names) or len(names) > MAX_SHARDS:
            raise ValueError("names that no file has, or too many")
        return [path.parent / name for name in names]
    except OSError as error:
        _refuse(path, error.strerror or str(error))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        _refuse(path, "is not an index of safetensors files")


def _with_siblings(path: Path) -> list[Path]:
    """The shards of a checkpoint one of which is at `path`, or that file alone where it is none."""
    match = SHARD.fullmatch(path.name)
    if match is None or not path.exists():
        return [path]
    count = int(match["count"])
    names = [f"{match['stem']}-{number:05d}-of-{match['count']}{match['end']}" for number in range(1, count + 1)]
    shards = [path.parent / name for name in names[:MAX_SHARDS]]
    if gone := [shard.name for shard in shards if not shard.is_file()]:
        _refuse(path, f"is one of {count} shards, which must lie together; {gone[0]} is not there")
    return shards


def _read_one(path: Path) -> CheckpointHeader:
    if path.exists() and not path.is_file():
        _refuse(path, "is not a file")
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            start = file.read(24)
            if start.startswith(GGUF):
                return _from_gguf(path)
            length = _header_length(path, size, start)
            file.seek(8)
            raw = file.read(length)
    except OSError as error:
        _refuse(path, error.strerror or str(error))
    header = _parse(path, raw)
    if len(header) > MAX_TENSORS + 1:
        _refuse(path, f"has {len(header)} tensors; must be at most {MAX_TENSORS}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(path, "its header's __metadata__ is not a table of texts")
    entries = {name: _entry(path, name, value, 8 + length) for name, value in header.items()}
    _check_layout(path, entries, 8 + length, size)
    return CheckpointHeader(entries, metadata, (path,))


def _from_gguf(path: Path) -> CheckpointHeader:
    head = read_gguf_head(path, MAX_TENSORS, MAX_NAME)
    entries = {name: StoredTensor(*tensor, path) for name, tensor in head.tensors.items()}
    return CheckpointHeader(entries, head.metadata, (path,))


def _header_length(path: Path, size: int, start: bytes) -> int:
    if size == 0:
        _refuse(path, "is empty")
    length = struct.unpack("<Q", start[:8])[0] if size >= 8 else size
    if start[8:9] == b"{" and 8 + length <= size and length <= MAX_HEADER_BYTES:
        return length
    if start[8:9] != b"{" or start.startswith((b"{", b"<")):
        _refuse(path, f"is not a safetensors file but {without_weights(path)}")
    if length > MAX_HEADER_BYTES:
        _refuse(path, f"its header claims {length} bytes, over the {MAX_HEADER_BYTES} allowed here")
    _refuse(path, f"is truncated: its header alone claims {length} bytes, the file has {size}")


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) != len(pairs):
            raise ValueError("a name occurs twice")
        return names

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=table)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"its header is not valid JSON: {str(error).splitlines()[0][:120]}")
    if not isinstance(header, dict):
        _refuse(path, "its header is not a JSON object")
    return header


def _entry(path: Path, name: str, value: object, data_start: int) -> StoredTensor:
    shown = ascii(name[:100])[:100]
    if len(name) > MAX_NAME:
        _refuse(path, f"tensor {shown} has a name of {len(name)} characters; must be at most {MAX_NAME}")
    if not isinstance(value, dict):
        _refuse(path, f"tensor {shown} is not described by a table")
    dtype, shape, offsets = value.get("dtype"), _counts(value.get("shape")), _counts(value.get("data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPES or DTYPES[dtype].values > 1:
        _refuse(path, f"tensor {shown} has the unknown dtype {_shown(dtype)}")
    if shape is None:
        _refuse(path, f"tensor {shown} has the shape {_shown(value.get('shape'))}, not a list of sizes")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        _refuse(path, f"tensor {shown} has data_offsets {_shown(value.get('data_offsets'))}, not [start, end]")
    needed = byte_length(dtype, shape)
    if offsets[1] - offsets[0] != needed:
        stated = offsets[1] - offsets[0]
        _refuse(path, f"tensor {shown} of {dtype} {list(shape)[:8]} does not fit its data_offsets of {stated} bytes")
    return StoredTensor(dtype, shape, data_start + offsets[0], data_start + offsets[1], path)


def _shown(value: object) -> str:
    """A value of a header for a message."""
    return ascii(value[:60] if isinstance(value, list | str) else value)[:60]


def _counts(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list) or len(value) > MAX_RANK:
        return None
    return tuple(value) if all(type(item) is int and 0 <= item < 2**63 for item in value) else None


def _check_layout(path: Path, entries: dict[str, StoredTensor], data_start: int, size: int) -> None:
    """The tensors must fill the buffer: no overlap, no hole, no byte missing, none left over."""
    end, before = data_start, "the header"
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            what = "overlaps" if entry.start < end else "leaves a hole after"
            _refuse(path, f"tensor {ascii(name)[:100]} {what} {before}")
        end, before = entry.end, ascii(name)[:100]
    if end > size:
        _refuse(path, f"is truncated: its tensors need {end} bytes, the file has {size}")
    if end < size:
        _refuse(path, f"has {size - end} bytes after its last tensor")


def _refuse(path: Path, what: str) -> NoReturn:
    raise InputError(f"{path}: {what}")
