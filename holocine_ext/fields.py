"""Documents (TOML, JSON, YAML) and their fields, read strictly. Knows nothing of what the fields mean.

Every message is one line that names the file, the field, the value and the rule.
"""

from __future__ import annotations

import difflib
import json
import math
import reprlib
import tomllib
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError

if TYPE_CHECKING:
    import yaml

SUFFIXES = (".toml", ".json", ".yaml", ".yml")
# Brackets within brackets in YAML; a storyboard needs three.
DEEPEST = 32
# A scene is a few pages of text; what is larger was not meant.
MAX_BYTES = 1 << 18
MAX_LINE = 8192
LARGEST = 2**63 - 1
SHOWN = 100


def read_document(path: Path, name: str) -> dict[str, Any]:
    """The top-level table of a TOML, JSON or YAML file; `name` is the flag that gave the path.

    Raises:
        InputError: no such file, another suffix, not UTF-8, a syntax error (with line and column), a key given twice,
            or a document that is not a table.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{name} {path}: must end in {', '.join(SUFFIXES[:3])}")
    if not path.is_file():
        raise InputError(f"{name} {path}: no such file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{name} {path}: is larger than {MAX_BYTES} bytes")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise InputError(f"{name} {path}: cannot be read ({error.strerror})") from error
    try:
        document = _PARSERS[path.suffix.lower()](text)
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: {error.msg} (at line {error.lineno}, column {error.colno})") from error
    except ValueError as error:
        raise InputError(f"{path}: {_one_line(error)}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: must hold fields, not {_kind(document)}")
    return document


def _parse_toml(text: str) -> object:
    """TOML, of which the library takes a time quadratic in the parts of a dotted key; keys do not leave their line."""
    if any(len(line) > MAX_LINE for line in text.splitlines()):
        raise ValueError(f"has a line of more than {MAX_LINE} characters; long texts go between triple quotes")
    return tomllib.loads(text)


def _parse_json(text: str) -> object:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        table: dict[str, object] = {}
        for key, value in pairs:
            if key in table:
                raise ValueError(f"{_named(key)}: given twice")
            table[key] = value
        return table

    return json.loads(text, object_pairs_hook=unique)


def _parse_yaml(text: str) -> object:
    import yaml

    class UniqueKeyLoader(yaml.SafeLoader):
        """The safe loader, which would silently keep the last of two equal keys, and looks at every open bracket again
        at each token."""

        def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
            if self.flow_level >= DEEPEST:
                raise RecursionError
            super().fetch_flow_collection_start(token)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            keys = set()
            for name, _ in node.value:
                key = self.construct_object(name, deep=True)
                if isinstance(key, Hashable) and key in keys:
                    raise ValueError(f"{_named(key)}: given twice{_place(name.start_mark)}")
                keys |= {key} if isinstance(key, Hashable) else set()
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, UniqueKeyLoader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"{error.problem or error.context}{_place(error.problem_mark)}") from error
    except yaml.YAMLError as error:
        raise ValueError(_one_line(error)) from error


def _place(mark: yaml.Mark | None) -> str:
    return f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_PARSERS: dict[str, Callable[[str], object]] = {
    ".toml": _parse_toml,
    ".json": _parse_json,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}


class Fields:
    """The fields of one table, each read once by its type; `None` when absent.

    Args:
        table: the table as parsed.
        place: what a message begins with: the file, and which part of it.
        known: every field that may occur.

    Raises:
        InputError: a field that is not known, with the nearest that is.
    """

    def __init__(self, table: object, place: str, known: Iterable[str]) -> None:
        if not isinstance(table, Mapping):
            raise InputError(f"{place}: must hold fields, not {_kind(table)}")
        self.table, self.place, self.known = table, place, tuple(known)
        for key in table:
            if key not in self.known:
                near = difflib.get_close_matches(_named(key), self.known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(self.known)}"
                raise InputError(f"{place}: {_named(key)}: unknown field; {hint}")

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
            raise self.refuse(field, "must be a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.refuse(field, "must be a finite number")
        if not low <= value <= high:
            raise self.refuse(field, f"must lie between {low:g} and {high:g}")
        return value

    def whole(self, field: str, low: float, high: float) -> int | None:
        """A whole number between `low` and `high`."""
        value = self.table.get(field)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self.refuse(field, "must be a whole number")
        return None if self.number(field, low, high) is None else value

    def whole_list(self, field: str) -> tuple[int, ...] | None:
        """A list of whole numbers."""
        value = self.table.get(field)
        if value is None:
            return None
        if not isinstance(value, list) or any(type(item) is not int or abs(item) > LARGEST for item in value):
            raise self.refuse(field, "must be a list of whole numbers")
        return tuple(value)


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


def _named(key: object) -> str:
    """A key for a message."""
    return describe(key).strip("'\"")


def _kind(value: object) -> str:
    kinds = {str: "text", list: "a list", dict: "fields", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), f"{describe(value)}")
