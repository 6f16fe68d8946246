"""Documents (TOML, JSON, YAML) and their fields, read strictly. Knows nothing of what the fields mean.

Every message is one line that names the file, the field, the value and the rule.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from holocine_ext.story.words import describe, hint, named
from wan2.errors import InputError
from wan2.parsing import Reading

SUFFIXES = (".toml", ".json", ".yaml", ".yml")
# A scene is a few pages of text; what is larger was not meant.
MAX_BYTES = 1 << 18
MAX_LINE = 8192
# A storyboard needs two: `shots.caption`.
MAX_PARTS = 8
LARGEST = 2**63 - 1
# Of the lines about fields that are not known.
MOST_SHOWN = 8
# What of a TOML document is no key: texts and comments. The end of the document ends each, so one look is enough.
_TEXTS = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"""|\Z)|' r"'''.*?(?:'''|\Z)|" r'"(?:\\.|[^"\\\n])*+"?|' r"'[^'\n]*+'?|#[^\n]*+", re.DOTALL
)
_DOTTED = re.compile(rf"(?<![^\s.=\[\]{{}},])(?:[^\s.=\[\]{{}},]++[ \t]*+\.[ \t]*+){{{MAX_PARTS}}}")
_LIKE_A_NUMBER = re.compile(r"[-+]?[0-9][0-9_:.]*|0[xob][0-9a-fA-F]+")


def read_document(path: Path, name: str) -> dict[str, Any]:
    """The top-level table of a TOML, JSON or YAML file; `name` is the flag that gave the path.

    Raises:
        InputError: no such file, another suffix, not UTF-8, a syntax error (with line and column), a key given twice,
            or a document that is not a table.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{name} {path}: must end in {', '.join(SUFFIXES[:3])}")
    document = parsed(path, read_text(path, name))
    if not isinstance(document, dict):
        raise InputError(f"{path}: must hold fields, not {_kind(document)}")
    return document


def read_text(path: Path, name: str) -> str:
    """The text of a file; `name` is the flag that gave the path.

    Raises:
        InputError: no such file, one that is too large, or not UTF-8.
    """
    if not path.is_file():
        raise InputError(f"{name} {path}: no such file")
    with Reading(f"{name} {path}"):
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{name} {path}: is larger than {MAX_BYTES} bytes")
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from error


def parsed(path: Path, text: str) -> object:
    """The value of a document, by the suffix of its name. Raises `InputError` for a syntax error, with its place."""
    with Reading(str(path)):
        return _parsed(path, text)


def _parsed(path: Path, text: str) -> object:
    try:
        return _PARSERS[path.suffix.lower()](text)
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: {error.msg} (at line {error.lineno}, column {error.colno})") from error
    except ValueError as error:
        raise InputError(f"{path}: {_one_line(error)}") from error


def _parse_toml(text: str) -> object:
    """TOML, of which the library takes a time quadratic in the length of a line and in the parts of a dotted key."""
    if any(len(line) > MAX_LINE for line in text.splitlines()):
        raise ValueError(f"has a line of more than {MAX_LINE} characters; long texts go between triple quotes")
    if dotted := _DOTTED.search(_TEXTS.sub("text", text)):
        raise ValueError(f"{named(dotted[0])}: a key of more than {MAX_PARTS} parts")
    return tomllib.loads(text)


def parse_json(text: str) -> object:
    """JSON in which no key occurs twice. Raises `ValueError` for anything else."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        table: dict[str, object] = {}
        for key, value in pairs:
            if key in table:
                raise ValueError(f"{named(key)}: given twice")
            table[key] = value
        return table

    return json.loads(text, object_pairs_hook=unique)


def _parse_yaml(text: str) -> object:
    from holocine_ext.story.yaml_document import parse_yaml  # a tenth of a second, which other documents need not wait

    return parse_yaml(text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_PARSERS: dict[str, Callable[[str], object]] = {
    ".toml": _parse_toml,
    ".json": parse_json,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}


def unknown_fields(table: object, known: Sequence[str], synonyms: Mapping[str, str]) -> list[str]:
    """A line for each field of a table that is not known, with what to write instead."""
    if not isinstance(table, Mapping):
        return []
    odd = [key for key in table if key not in known]
    return [f"{named(key)}: unknown field; {hint(key, known, synonyms)}" for key in odd]


def refuse_unknown(place: str, lines: Sequence[str]) -> None:
    """Raise `InputError` with all lines about fields that are not known, if there are any."""
    if lines:
        more = f"; and {len(lines) - MOST_SHOWN} more" if len(lines) > MOST_SHOWN else ""
        raise InputError(f"{place}: {'; '.join(lines[:MOST_SHOWN])}{more}")


class Fields:
    """The fields of one table, each read once by its type; `None` when absent.

    Args:
        table: the table as parsed.
        place: what a message begins with: the file, and which part of it.
        known: every field that may occur.
        synonyms: what people call these fields -> what to write instead.

    Raises:
        InputError: fields that are not known, with what to write instead.
    """

    def __init__(
        self, table: object, place: str, known: Iterable[str], synonyms: Mapping[str, str] | None = None
    ) -> None:
        if not isinstance(table, Mapping):
            raise InputError(f"{place}: must hold fields, not {_kind(table)}")
        self.table, self.place, self.known = table, place, tuple(known)
        refuse_unknown(place, unknown_fields(table, self.known, synonyms or {}))

    def name(self, field: str) -> str:
        """The field as messages call it."""
        return f"{self.place}: {field}"

    def refuse(self, field: str, rule: str) -> InputError:
        """The error that says what `field` holds and which rule that breaks."""
        return InputError(f"{self.name(field)} {describe(self.table[field])}: {rule}")

    def text(self, field: str) -> str | None:
        """A text."""
        value = self.table.get(field)
        if value is None or isinstance(value, str):
            return value
        raise self.refuse(field, "must be text")

    def number(self, field: str, low: float, high: float) -> float | None:
        """A finite number between `low` and `high`."""
        value = self.table.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(field, f"must be a number{_plainly(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.refuse(field, "must be a finite number")
        if not low <= value <= high:
            raise self.refuse(field, f"must lie between {low:g} and {high:g}")
        return value

    def whole(self, field: str, low: float, high: float) -> int | None:
        """A whole number between `low` and `high`."""
        value = self.table.get(field)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self.refuse(field, f"must be a whole number{_plainly(value)}")
        return None if self.number(field, low, high) is None else value

    def numbers(self, field: str, low: float, high: float) -> tuple[float, ...] | None:
        """A finite number between `low` and `high`, or a list of them."""
        value = self.table.get(field)
        if value is None:
            return None
        items = value if isinstance(value, list) else [value]
        if not items or any(type(item) not in (int, float) or not low <= item <= high for item in items):
            raise self.refuse(field, f"must be a number between {low:g} and {high:g}, or a list of them")
        return tuple(float(item) for item in items)

    def whole_list(self, field: str) -> tuple[int, ...] | None:
        """A list of whole numbers."""
        value = self.table.get(field)
        if value is None:
            return None
        if not isinstance(value, list) or any(type(item) is not int or abs(item) > LARGEST for item in value):
            raise self.refuse(field, "must be a list of whole numbers")
        return tuple(value)


def _kind(value: object) -> str:
    kinds = {str: "text", list: "a list", dict: "fields", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), f"{describe(value)}")


def _plainly(value: object) -> str:
    """How to write a number, for one that was given as text: in quotes, or as YAML has none."""
    plain = isinstance(value, str) and len(value) < MAX_LINE and _LIKE_A_NUMBER.fullmatch(value)
    return ", in decimal digits, without quotes and leading zeros" if plain else ""
