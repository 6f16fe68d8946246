"""What a folder holds, as values that two folders of equal runs have in common. Knows nothing of how runs are made.

A record is compared whole but for the fields of `LEFT_OUT`, of which only the type must be the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wan2.run.video_io import read_metadata, read_video
from wan2.weights.header import read_header

LEFT_OUT = ("created", "seconds", "host_peak_bytes", "device_peak_bytes", "device_reserved_bytes")
"""Of a record: when the run began, the seconds of each stage (the stages themselves are compared), and memory."""
# Texts of files that hold a record or a plan as JSON.
NOTES = ("comment", "record", "plan")
FOLDER = "a folder"
SHOWN = 300


def snapshot(folder: Path) -> dict[str, Any]:
    """Every path below a folder, hidden ones included, and what is there.

    Raises:
        Exception: a file is not whole; `broken` has it as a text.
    """
    return {str(path.relative_to(folder)): content(path) for path in sorted(folder.rglob("*"))}


def content(path: Path) -> object:
    """What a file holds, without what differs between equal runs."""
    if path.is_symlink():
        return f"a link to {path.readlink()}"
    if path.is_dir():
        return FOLDER
    if path.suffix == ".mp4":
        return digest(read_video(path)), notes(read_metadata(path))
    if path.suffix == ".safetensors":
        header = read_header(path)
        data = path.read_bytes()
        tensors = {name: (entry.shape, digest(data[entry.start : entry.end])) for name, entry in header.entries.items()}
        return tensors, notes(header.metadata)
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return digest(np.asarray(picture)), picture.size
    if path.suffix == ".json":
        return comparable(json.loads(path.read_text(encoding="utf-8")))
    return digest(path.read_bytes())


def digest(data: Any) -> str:  # noqa: ANN401
    """A hash of bytes, or of an array and its shape."""
    shape = str(getattr(data, "shape", ""))
    return hashlib.sha256(shape.encode() + bytes(np.ascontiguousarray(data) if shape else data)).hexdigest()[:16]


def notes(texts: Mapping[str, str]) -> dict[str, Any]:
    """Texts of a file; of those that are JSON, what they say."""
    return {name: note(text) if name in NOTES else text for name, text in texts.items()}


def note(text: str) -> object:
    """A record or a plan; any other text is what it is."""
    try:
        return comparable(json.loads(text))
    except ValueError:
        return text


def comparable(record: Any) -> Any:  # noqa: ANN401
    """A record, of whose fields that may differ only the types are left."""
    if not isinstance(record, dict) or "options" not in record:
        return record
    types = {name: kind_of(record[name]) for name in LEFT_OUT if name in record}
    decoded = record.get("decoded")
    inner = {"decoded": comparable(decoded)} if isinstance(decoded, dict) else {}
    return {**record, **types, **inner}


def kind_of(value: object) -> object:
    """The type of a value, or of each value of a table."""
    if isinstance(value, dict):
        return {name: kind_of(inner) for name, inner in value.items()}
    return type(value).__name__


def differences(found: object, expected: object, place: str = "") -> Iterator[str]:
    """Every place at which two contents differ, in a line each."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys(), key=str):
            there = f"{place}{': ' if place else ''}{name}"
            if name not in found:
                yield f"{there} is missing"
            elif name not in expected:
                yield f"{there} is left over"
            else:
                yield from differences(found[name], expected[name], there)
    elif isinstance(found, tuple) and isinstance(expected, tuple) and len(found) == len(expected):
        for one, other in zip(found, expected, strict=True):
            yield from differences(one, other, place)
    elif found != expected:
        yield f"{place}: {str(found):.{SHOWN}} instead of {str(expected):.{SHOWN}}"


def raw(folder: Path) -> dict[str, bytes | str]:
    """Every path below a folder, hidden ones included, and its very bytes; links are not followed."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        is_folder = path.is_dir() and not path.is_symlink()
        name = str(path.relative_to(folder))
        found[name] = str(content(path)) if is_folder or path.is_symlink() else path.read_bytes()
    return found
