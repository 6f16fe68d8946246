"""`--inspect`: what files are and whether a run takes them, a few lines for each. Loads nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wan2.cli.console import Console
from wan2.errors import InputError
from wan2.weights.inspected import Inspected, inspect_file

WIDTH, LABEL = 80, 9
Facts = Iterable[tuple[str, str]]
ALSO = ("inspect", "quiet")
BESIDE = ("lora_partial",)


def no_more(_: Inspected) -> Facts:
    """Nothing that only an extension could tell."""
    return ()


def show_files(given: Mapping[str, Any], console: Console, more: Callable[[Inspected], Facts] = no_more) -> None:
    """Print what each file is. more: what an extension can tell of one, as labels and texts.

    Raises:
        InputError: a path with nothing there, or something else was asked for, too.
    """
    for name, value in given.items():
        if value is not None and name not in ALSO:
            raise InputError(f"looks at files and makes nothing, so it cannot go with `{name}`", field="inspect")
    found = [inspect_file(path) for path in given["inspect"]]
    console.show("\n\n".join("\n".join(_lines(one, more(one))) for one in found))


def _lines(found: Inspected, more: Facts) -> list[str]:
    kind = found.kind
    details = ", ".join(filter(None, (kind.size, kind.layout)))
    facts = [("is", kind.name + (f" ({details})" if details else "") + (f": {kind.note}" if kind.note else ""))]
    if found.head is not None:
        held = kind.quantisation or kind.dtype or "nothing"
        facts.append(("holds", f"{held}, {len(found.head.tensors)} tensors, {_bytes(found.nbytes)}"))
    if found.expert:
        facts.append(("expert", f"{found.expert} noise, by its name"))
    facts += [*more, ("runs", f"yes, as {_settings(found)}" if found.settings else f"no: {found.problem}")]
    return [str(found.path), *(line for label, text in facts for line in _wrapped(label, text))]


def _settings(found: Inspected) -> str:
    """By which settings a file is given: one of them, and those that must go with it."""
    one = " or ".join(f"`{name}`" for name in found.settings if name not in BESIDE)
    return " with ".join([one, *(f"`{name}`" for name in found.settings if name in BESIDE)])


def _wrapped(label: str, text: str) -> list[str]:
    """A fact in lines of at most 80 characters; words that are longer stay whole."""
    first, rest = f"  {label:<{LABEL}}", " " * (LABEL + 2)
    how: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, **how)


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count} bytes"
