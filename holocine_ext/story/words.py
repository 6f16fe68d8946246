"""Values and names as messages show them, short, on one line; the hint that a wrong name deserves. Reads nothing."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping, Sequence

SHOWN = 100
# Longer names are no misspelling, and likeness takes a time quadratic in their length.
LONGEST_NAME = 40


class _Brief(reprlib.Repr):
    """Writes a value without reading more of it than is shown: a few lines of YAML can stand for gigabytes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxlist = 3, 8, 8

    def repr_str(self, value: str, level: int) -> str:  # noqa: ARG002
        return repr(value[:SHOWN])

    def repr_int(self, value: int, level: int) -> str:  # noqa: ARG002
        return repr(value) if value.bit_length() <= 64 else "a number beyond 64 bits"


def describe(value: object, width: int = 48) -> str:
    """A value for a message: short, on one line, strings in quotes."""
    text = " ".join(_Brief().repr(value).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def named(key: object) -> str:
    """A key for a message."""
    return describe(key).strip("'\"")


def hint(key: object, known: Sequence[str], synonyms: Mapping[str, str]) -> str:
    """What to write instead of a field that is not known: what means the same, else what is spelt like it.

    Args:
        key: the field as given.
        known: every field that may occur.
        synonyms: what people call the fields -> what to write.
    """
    name = key if isinstance(key, str) and len(key) <= LONGEST_NAME else ""
    if meant := synonyms.get(name.strip().lower().replace("-", "_").replace(" ", "_")):
        return meant
    if near := difflib.get_close_matches(name, known, 1):
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(known)}"
