"""Whether a file is one that this program made. Never raises: what cannot be read is somebody else's.

Videos and pictures say it by their marks (`marks.py`), the rest by what is in them.
"""

from __future__ import annotations

from pathlib import Path

from wan2.errors import InputError
from wan2.plan.marks import is_our_png
from wan2.plan.recorded import read_record
from wan2.plan.saved_latents import saved_record
from wan2.weights.header import read_header

# What no two runs have in common.
ORIGIN = ("created", "options")


def is_record(path: Path) -> bool:
    """Whether a file is the record of a run."""
    try:
        return read_record(path) is not None
    except (InputError, OSError):
        return False


def is_record_of(path: Path, latents: Path) -> bool:
    """Whether a file is the record of the run that made these latents, and of no other."""
    try:
        record, saved = read_record(path), saved_record(latents)
    except (InputError, OSError):
        return False
    return record is not None and bool(saved) and all(record.get(name) == saved.get(name) for name in ORIGIN)


def is_latents(path: Path) -> bool:
    """Whether a file holds the latents of a finished run."""
    notes = _notes(path)
    return "plan" in notes and "state" not in notes


def is_state(path: Path) -> bool:
    """Whether a file is the state of a run."""
    return "state" in _notes(path)


def is_our_frame(path: Path) -> bool:
    """Whether a file is a numbered still of a run."""
    return _is_numbered(path) and is_our_png(path)


def are_our_frames(path: Path) -> bool:
    """Whether a folder holds no numbered picture but those of a run; other files in it are in nobody's way."""
    return path.is_dir() and all(is_our_png(file) for file in path.iterdir() if _is_numbered(file))


def _is_numbered(path: Path) -> bool:
    return path.suffix == ".png" and path.stem.isdecimal()


def _notes(path: Path) -> dict[str, str]:
    try:
        return read_header(path).metadata
    except (InputError, OSError):
        return {}
