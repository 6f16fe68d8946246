"""One boundary around every parser: whatever it raises about a file becomes one line. Knows nothing of formats.

Parsers fail in more ways than they document: recursion, memory, numbers too long for Python, panics of libraries in
Rust. What a parser's caller can say better it says itself, by an `InputError` of its own, which passes unchanged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from wan2.errors import InputError

STDERR = 2
REASON = 160
# Not an `Exception`, and its class cannot be imported: a library in Rust makes it when it panics.
PANIC = "PanicException"


class Reading:
    """A block that reads something of the user's: `with Reading(place):`.

    Args:
        place: what the message begins with, the setting and file or the field.

    Raises:
        InputError: in place of any exception but `InputError` itself, on one line, with the kind of the exception and
            the beginning of its text. Ctrl-C and exits pass.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Turn what went wrong into an `InputError`."""
        if error is None or isinstance(error, InputError):
            return
        if isinstance(error, Exception) or type(error).__name__ == PANIC:
            raise InputError(f"{self.place}: cannot be read ({_reason(error)})") from error


def read_json(text: str, place: str, name: str) -> dict[str, Any]:
    """A table that this program wrote as JSON: into a file's metadata, under `name`.

    Raises:
        InputError: what is no JSON, no table, or holds text that no file can hold.
    """
    with Reading(f"{place}: its {name}"):
        try:
            table = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: its {name} is not JSON") from error
        if not isinstance(table, dict):
            raise InputError(f"{place}: its {name} is not a table")
        try:
            json.dumps(table, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{place}: its {name} holds text that is not valid Unicode") from error
        return table


def _reason(error: BaseException) -> str:
    """Why, in a few words: the system's own for its errors, else the kind of the exception and what it says."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, MemoryError):
        return "asks for more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = " ".join(str(error)[: 4 * REASON].split())
    said = said if len(said) <= REASON else f"{said[: REASON - 3]}..."
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def without_stderr() -> Iterator[None]:
    """A block during which nothing reaches the process's stderr: libraries in Rust print there what they raise, too."""
    try:
        saved = os.dup(STDERR)
    except OSError:  # it is closed
        yield
        return
    try:
        with suppress(OSError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, STDERR)
            os.close(nothing)
        yield
    finally:
        os.dup2(saved, STDERR)
        os.close(saved)
