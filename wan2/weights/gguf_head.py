"""The head of a GGUF file, checked before it is trusted. Knows nothing of models; reads no weights.

Source: the GGUF format of ggml, versions 2 and 3: counts, a table of notes, a table of tensors, then their bytes, each
aligned. A shape is stored with its fastest axis first. Tensors that the format would not take as they are have their
shape in a note, as ComfyUI's converter leaves it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from wan2.errors import InputError
from wan2.weights.dtypes import DTYPES, byte_length

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# A tokenizer in it takes 7 MB.
MAX_HEAD_BYTES = 64 << 20
MAX_RANK, MAX_NOTES, MAX_TEXT, MAX_ITEMS = 8, 1 << 12, 1 << 16, 1 << 20
ALIGNMENT, ALIGNMENT_NOTE = 32, "general.alignment"
SHAPE_NOTE = "comfy.gguf.orig_shape."
PARTS_NOTE = "split.count"
TYPES = (
    {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1"}
    | {10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K"}
    | {16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS"}
    | {24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16"}
    | {34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0"}
)
"""The types of tensors by their numbers; all are in `DTYPES`."""
# The numbers of notes: how `struct` spells them.
CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, LIST = 8, 9

Note = str | int | float | tuple[int | float, ...] | None


class GgufTensor(NamedTuple):
    """One tensor: its type, its shape with the slowest axis first, and the position of its bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class _Info(NamedTuple):
    """The same as the table of tensors has it: where its bytes are, counted from the end of the head."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class GgufHead:
    """Every tensor of a file by its name, and its notes that are one text or one number, as texts."""

    tensors: dict[str, GgufTensor]
    metadata: dict[str, str]


def read_gguf_head(path: Path, max_tensors: int, max_name: int) -> GgufHead:
    """The head of a GGUF file.

    Raises:
        InputError: one line naming the file: it is truncated, of another version or byte order, a part of several, or
            its head contradicts itself or the size of the file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = _Head(path, file)
        version = head.integer("I")
        if version not in VERSIONS:
            order = ", of the other byte order" if version & 0xFFFF == 0 and version else ""
            _refuse(path, f"is GGUF of version {version}{order}; versions 2 and 3 are read")
        count, num_notes = head.integer(), head.integer()
        if count > max_tensors or num_notes > MAX_NOTES:
            _refuse(path, f"claims {count} tensors and {num_notes} notes; must be at most {max_tensors}, {MAX_NOTES}")
        notes = _read_notes(head, num_notes, max_name)
        parts = notes.get(PARTS_NOTE)
        if isinstance(parts, int) and parts > 1:
            _refuse(path, f"is one of {parts} parts of a GGUF file; join them, for example with llama-gguf-split")
        infos = dict(_read_tensor(head, max_name) for _ in range(count))
        if len(infos) != count:
            _refuse(path, "has two tensors of one name")
        tensors = _placed(path, infos, notes, head)
    metadata = {name: str(note) for name, note in notes.items() if isinstance(note, str | int | float)}
    return GgufHead(tensors, metadata)


class _Head:
    """The bytes of a head in order, none beyond the end of the file or the largest head that is read."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.size = path, file.seek(0, 2)
        self._file, self._limit = file, min(self.size, MAX_HEAD_BYTES)
        self.at = file.seek(len(MAGIC))

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self._advance(count)
        return self._file.read(count)

    def skip(self, count: int) -> None:
        """Leave out the next bytes."""
        self._advance(count)
        self._file.seek(count, 1)

    def number(self, code: str) -> int | float:
        """The next number, as `struct` spells its type."""
        value: int | float = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]
        return value

    def integer(self, code: str = "Q") -> int:
        """The next whole number; a length or a count, where `code` does not say otherwise."""
        return int(self.number(code))

    def text(self, longest: int, what: str) -> str:
        """The next text."""
        length = self.integer()
        if length > longest:
            _refuse(self.path, f"{what} has {length} bytes; must be at most {longest}")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            _refuse(self.path, f"{what} is not valid UTF-8")

    def _advance(self, count: int) -> None:
        self.at += count
        if self.at > self._limit:
            if self._limit == self.size:
                _refuse(self.path, f"is truncated: its head goes beyond the {self.size} bytes of the file")
            _refuse(self.path, f"its head is longer than the {MAX_HEAD_BYTES} bytes allowed here")


def _read_notes(head: _Head, count: int, max_name: int) -> dict[str, Note]:
    """The table of notes. A long text and a list that is not a few numbers are left out: None."""
    notes: dict[str, Note] = {}
    for _ in range(count):
        name = head.text(len(SHAPE_NOTE) + max_name, "the name of a note")
        if name in notes:
            _refuse(head.path, f"has the note {ascii(name)[:100]} twice")
        notes[name] = _read_note(head, name)
    return notes


def _read_note(head: _Head, name: str) -> Note:
    kind = head.integer("I")
    if kind in CODES:
        return head.number(CODES[kind])
    if kind == TEXT:
        return _short_text(head)
    if kind != LIST:
        _refuse(head.path, f"its note {ascii(name)[:100]} has the unknown type {kind}")
    item, length = head.integer("I"), head.integer()
    if length > MAX_ITEMS or item not in (*CODES, TEXT):
        _refuse(head.path, f"its note {ascii(name)[:100]} is a list of {length} of the type {item}, which is not read")
    if item in CODES and length <= MAX_RANK:
        return tuple(head.number(CODES[item]) for _ in range(length))
    if item in CODES:
        head.skip(length * struct.calcsize(f"<{CODES[item]}"))
    else:
        for _ in range(length):
            head.skip(head.integer())
    return None


def _short_text(head: _Head) -> str | None:
    length = head.integer()
    if length <= MAX_TEXT:
        return head.take(length).decode(errors="replace")
    head.skip(length)
    return None


def _read_tensor(head: _Head, max_name: int) -> tuple[str, _Info]:
    name = head.text(max_name, "the name of a tensor")
    shown, rank = ascii(name)[:100], head.integer("I")
    if rank > MAX_RANK:
        _refuse(head.path, f"tensor {shown} has {rank} axes; must be at most {MAX_RANK}")
    shape = tuple(reversed([head.integer() for _ in range(rank)]))
    kind, offset = head.integer("I"), head.integer()
    if kind not in TYPES:
        _refuse(head.path, f"tensor {shown} has the unknown type {kind}")
    row, block = shape[-1] if shape else 1, DTYPES[TYPES[kind]].values
    if row % block or max(shape, default=0) >= 2**63:
        _refuse(head.path, f"tensor {shown} of {TYPES[kind]} has rows of {row}; needs a multiple of {block}")
    return name, _Info(TYPES[kind], shape, offset)


def _placed(path: Path, infos: dict[str, _Info], notes: dict[str, Note], head: _Head) -> dict[str, GgufTensor]:
    """The tensors at their places in the file, which they must fill: no overlap, no gap but for the alignment."""
    align = notes.get(ALIGNMENT_NOTE, ALIGNMENT)
    if not isinstance(align, int) or not 0 < align <= 1 << 16 or align & (align - 1):
        _refuse(path, f"its {ALIGNMENT_NOTE} is {ascii(align)[:60]}; must be a power of two")
    data = end = _aligned(head.at, align)
    before, found = "the head", {}
    for name, info in sorted(infos.items(), key=lambda item: (item[1].offset, math.prod(item[1].shape))):
        start, shown = data + info.offset, ascii(name)[:100]
        if start != _aligned(end, align):
            what = "overlaps" if start < end else "leaves a hole after"
            _refuse(path, f"tensor {shown} {what} {before}")
        end, before = start + byte_length(info.dtype, info.shape), shown
        found[name] = GgufTensor(info.dtype, _true_shape(path, name, info.shape, notes), start, end)
    if end > head.size:
        _refuse(path, f"is truncated: its tensors need {end} bytes, the file has {head.size}")
    if head.size > _aligned(end, align):
        _refuse(path, f"has {head.size - end} bytes after its last tensor")
    return {name: found[name] for name in infos}


def _true_shape(path: Path, name: str, shape: tuple[int, ...], notes: dict[str, Note]) -> tuple[int, ...]:
    """The shape that a tensor had before it was written, if a note says so."""
    note = notes.get(SHAPE_NOTE + name, shape)
    if note == shape:
        return shape
    sizes = note if isinstance(note, tuple) else ()
    if not all(type(size) is int and size >= 0 for size in sizes) or math.prod(sizes) != math.prod(shape):
        _refuse(path, f"tensor {ascii(name)[:100]} of {list(shape)} has {ascii(note)[:60]} noted as its shape")
    return tuple(int(size) for size in sizes)


def _aligned(position: int, align: int) -> int:
    return -(-position // align) * align


def _refuse(path: Path, what: str) -> NoReturn:
    raise InputError(f"{path}: {what}")
