"""What each note in a state's metadata must be, down to its last value. Knows nothing of what the notes decide."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[object], bool]
"""Whether a JSON value is what a note should be."""

LARGEST = 2**63


def is_count(value: object) -> bool:
    """A whole number from 0 on."""
    return type(value) is int and 0 <= value < LARGEST


def is_duration(value: object) -> bool:
    """A finite number from 0 on."""
    return type(value) in (int, float) and 0 <= value < LARGEST  # type: ignore[operator]


def is_text(value: object) -> bool:
    """A text that can be part of a file's name: without a zero byte."""
    return isinstance(value, str) and "\0" not in value


def table_of(holds: Check) -> Check:
    """A check for tables of such values."""
    return lambda value: isinstance(value, dict) and all(map(holds, value.values()))


def list_of(holds: Check) -> Check:
    """A check for lists of such values."""
    return lambda value: isinstance(value, list) and all(map(holds, value))


def is_leaf(value: object) -> bool:
    """A value of an option that holds no others."""
    return value is None or type(value) in (bool, int, float) or is_text(value)


def is_option(value: object) -> bool:
    """The value of an option: one, a list or a table of them; which is right for which option is seen later."""
    return is_leaf(value) or list_of(is_leaf)(value) or table_of(is_leaf)(value)


def is_fingerprint(value: object) -> bool:
    """What `wan2.weights.fingerprint` says of files."""
    holds: dict[str, Check] = {"files": list_of(is_text), "bytes": is_count, "fingerprint": is_text}
    return isinstance(value, dict) and value.keys() == holds.keys() and all(holds[name](value[name]) for name in holds)


def is_machine(value: object) -> bool:
    """Device, dtype and attention, of which the last may be open."""
    names = {"device", "dtype", "attention"}
    return isinstance(value, dict) and value.keys() <= names and all(v is None or is_text(v) for v in value.values())


NOTES: dict[str, Check] = {
    "format": is_count,
    "step": is_count,
    "options": table_of(is_option),
    "scene": lambda value: isinstance(value, dict),
    "checkpoints": table_of(is_fingerprint),
    "versions": table_of(is_text),
    "text": is_text,
    "machine": is_machine,
    "seconds": table_of(is_duration),
    "passes": is_count,
}
"""Every field of a state's metadata, and what it must be. The scene is for the extension that wrote it to check."""
