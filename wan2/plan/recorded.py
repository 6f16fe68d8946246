"""What the record beside a finished video says. Reads JSON; knows nothing of how a record is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wan2.errors import InputError

# A record is a few pages.
MAX_BYTES = 1 << 20
TABLES = ("options", "checkpoints")


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a finished run; None when there is none.

    Raises:
        InputError: the file is no record.
    """
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: is larger than {MAX_BYTES} bytes")
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON") from error
    return checked_record(path, record)


def checked_record(path: Path, record: Any) -> dict[str, Any]:  # noqa: ANN401
    """A JSON value that must be the record of a run. Raises `InputError` where it is not."""
    tables = [record, *(record.get(name) for name in TABLES)] if isinstance(record, dict) else [None]
    if not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{path}: is not the record of a run")
    return record


def recorded_output(path: Path) -> str | None:
    """What kind of output a finished run wrote, None without a record that says it. Raises as `read_record`."""
    record = read_record(path)
    kind = record["options"].get("output_type") if record else None
    return kind if isinstance(kind, str) else None


def recorded_seed(path: Path, otherwise: int) -> int:
    """The seed of a finished run. Raises as `read_record`."""
    record = read_record(path)
    seed = record["options"].get("seed") if record else None
    return seed if type(seed) is int else otherwise
