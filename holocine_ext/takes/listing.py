"""The earlier runs in a folder, as a table. Reads records only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.plan.recorded import read_record
from wan2.request.output import LATENT_SUFFIX

HEAD = ("take", "shots", "seed", "made", "held", "scene")
SCENE_WIDTH = 48


def takes_in(folder: Path) -> str:
    """A line for every run with a record in a folder, the newest last.

    A star behind a name means that its latents are there, so that its shots can be held.

    Raises:
        InputError: no such folder, or no record of a scene in it.
    """
    if not folder.is_dir():
        raise InputError("no such folder", field="list_takes", value=folder)
    rows = sorted(_rows(folder), key=lambda row: row[HEAD.index("made")])
    if not rows:
        raise InputError("holds no record of a scene", field="list_takes", value=folder)
    return "\n".join(_lines([HEAD, *rows]))


def _rows(folder: Path) -> Iterator[tuple[str, ...]]:
    for path in sorted(folder.glob("*.json")):
        try:
            record = read_record(path)
        except (InputError, OSError):
            continue  # somebody else's
        if record is not None and isinstance(record.get("captions"), list):
            yield _row(path, record)


def _row(path: Path, record: Mapping[str, Any]) -> tuple[str, ...]:
    kept = "*" if path.with_suffix(LATENT_SUFFIX).is_file() else ""
    made = str(record.get("created", ""))[:16].replace("T", " ")
    title = " ".join(str(record.get("title") or record["captions"][0] if record["captions"] else "").split())
    scene = title if len(title) <= SCENE_WIDTH else f"{title[: SCENE_WIDTH - 3]}..."
    seed = record["options"].get("seed", "")
    return path.stem + kept, str(len(record["captions"])), str(seed), made, _held(record.get("held")), scene


def _held(notes: object) -> str:
    """The shots that were held, by their numbers."""
    found = [note for note in notes if isinstance(note, dict)] if isinstance(notes, list) else []
    return " ".join(str(note.get("shot")) for note in found if note.get("until") == 0)


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
