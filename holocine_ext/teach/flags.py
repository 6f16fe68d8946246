"""Flags from records of settings, for the commands of this package. Prints nothing."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from wan2.cli.arguments import TYPES, number
from wan2.request.fields import SETTING, OneOf, Setting

MANY: dict[Any, Any] = {
    tuple[float, ...]: (number, "N"),
    tuple[str, ...]: (str, "NAME"),
}
"""Types of several values: what reads one of them, and how it is shown."""


def add_settings(group: argparse._ArgumentGroup, record: type, only: Collection[str] = ()) -> None:
    """A flag for every setting of a record, or only some; all default to None, which leaves the record's default."""
    kinds = get_type_hints(record)
    for field in fields(record):
        if SETTING in field.metadata and (not only or field.name in only):
            about: Setting = field.metadata[SETTING]
            shown = "" if field.default in (MISSING, None, False, 0) else f" (default: {_shown(field.default)})"
            group.add_argument(f"--{field.name}", help=about.help + shown, **_how(about, kinds[field.name]))


def record_of(record: type, given: Mapping[str, Any], **known: object) -> Any:  # noqa: ANN401
    """The record that flags ask for. `known`: values that no flag gives.

    Raises:
        InputError: a value breaks its rule.
    """
    names = {field.name for field in fields(record)}
    found = {name: value for name, value in given.items() if name in names and value is not None}
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return record(**{**known, **found})


def _how(about: Setting, kind: Any) -> dict[str, Any]:  # noqa: ANN401
    if kind is bool:
        return {"action": "store_const", "const": True}
    if isinstance(about.rule, OneOf):
        return {"choices": about.rule.choices}
    if kind in MANY:
        read, shown = MANY[kind]
        return {"type": read, "nargs": "+", "metavar": shown}
    plain = next((one for one in TYPES if kind in (one, one | None)), str)
    return {"type": TYPES.get(plain, str), "metavar": {Path: "PATH", str: "TEXT"}.get(plain, "N")}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return (f"{value:g}" if isinstance(value, float) else str(value)).replace("%", "%%")
