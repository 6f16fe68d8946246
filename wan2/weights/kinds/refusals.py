"""The refusals of files that are something else than what was asked for, or not exactly that."""

from __future__ import annotations

from pathlib import Path

from wan2.errors import InputError
from wan2.weights.kinds.kind import Kind, Table
from wan2.weights.kinds.namer import kind_of

READ_FORMS = ("", "scaled fp8", "int8", "int8 ConvRot")
"""The forms of quantisation that are read, as `quantised.quantisation` calls them."""


def check_kind(path: Path | str, kind: Kind, what: str, model: str) -> None:
    """Refuse a file that is something else, or quantised in a form that is not read.

    Raises:
        InputError: with what it is.
    """
    if not kind.is_a(what, model):
        raise InputError(f"{path}: must be {Kind(what, model)}; it is {kind}")
    if kind.quantisation not in READ_FORMS:
        raise InputError(f"{path}: its weights are {kind.quantisation}, which is not read")


def not_exactly(path: Path | str, problem: str, kind: Kind) -> InputError:
    """The refusal of a file that is nearly what was asked for."""
    return InputError(f"{path}: {problem}; it is not exactly {kind}")


def instead(table: Table, *asked: str) -> str:
    """What a file with these tensors is, to stand after a rule; empty where it is of a kind that was asked for."""
    kind = kind_of(table)
    return "" if kind.what in asked else f"; it is {kind}"
