"""A storyboard as the text of a file: TOML for people to edit, JSON or YAML by the file's suffix. Opens no file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wan2.errors import InputError

DELETE = "\x7f"
"""The one control character that JSON leaves as it is and TOML does not."""


def as_text(document: Mapping[str, Any], path: Path, remark: str = "") -> str:
    """A document in the form that the suffix of its file says; a remark, where the form has some, begins it.

    Raises:
        InputError: another suffix.
    """
    suffix, head = path.suffix.lower(), f"# {remark}\n" if remark else ""
    if suffix == ".toml":
        return head + "".join(_toml(document))
    if suffix == ".json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if suffix in (".yaml", ".yml"):
        import yaml

        return head + yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=100)
    raise InputError("must end in .toml, .json or .yaml", field="save_path", value=path)


def toml_text(value: str) -> str:
    """A text as TOML writes it."""
    return json.dumps(value, ensure_ascii=False).replace(DELETE, "\\u007f")


def _toml(document: Mapping[str, Any]) -> Iterator[str]:
    """Values first, then tables, then lists of tables."""
    tables = {name: value for name, value in document.items() if isinstance(value, Mapping)}
    lists = {name: value for name, value in document.items() if _of_tables(value)}
    yield from _fields({name: value for name, value in document.items() if name not in tables | lists})
    for name, table in tables.items():
        yield f"\n[{name}]\n"
        yield from _fields(table)
    for name, items in lists.items():
        for item in items:
            yield f"\n[[{name}]]\n"
            yield from _fields(item)


def _of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _fields(table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if value is not None:
            yield f"{_key(name)} = {_value(value)}\n"


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").replace("-", "").isalnum() else toml_text(name)


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return toml_text(value) if isinstance(value, str) else json.dumps(value)
