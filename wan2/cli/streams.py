"""The standard streams, which may be closed, full, without a reader, or unable to encode a text.

Trouble with a stream decides nothing: a text that cannot be written is lost, and no error reaches the run that wrote
it, or the interpreter when it ends. Knows nothing of what is written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from wan2.shown import escaped

STANDARD = (0, 1, 2)
"""Descriptors of stdin, stdout and stderr."""


class Steady:
    """A text stream whose `write` and `flush` never raise for the stream's sake; otherwise the stream it is given.

    What the encoding lacks is escaped with backslashes. `failed` is the last error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failed: OSError | ValueError | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text as far as the stream takes it; its length."""
        self._try(lambda: self._stream.write(_encodable(text, self._stream.encoding)))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written as far as the stream takes it."""
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def write_path(self, path: Path) -> None:
        """Write a path as a line, whole for a program that reads it, escaped for a terminal.

        A path that the encoding lacks is written as the bytes that name the file. Line breaks are escaped always.
        """
        name = escaped(str(path)) if self.isatty() else str(path).replace("\n", "\\n").replace("\r", "\\r")
        encoding, buffer = self._stream.encoding or "", getattr(self._stream, "buffer", None)
        if buffer is None or _encodable(name, encoding) == name or not _extends_ascii(encoding):
            self.write(f"{name}\n")
        else:
            self.flush()
            self._try(lambda: buffer.write(os.fsencode(name) + os.linesep.encode()))
        self.flush()

    def settle(self) -> None:
        """Leave nothing in the stream that could fail when the interpreter ends."""
        self.flush()
        if self.failed is None:
            return
        with suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)
            self._stream.flush()

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except (OSError, ValueError) as error:  # a stream that was closed raises ValueError
            self.failed = error


@contextmanager
def steady() -> Iterator[Steady]:
    """A block in which no standard stream raises, and in which only what is given writes to stdout.

    Whatever else is printed, as by libraries, goes to stderr. Descriptors 0 to 2 that are closed are opened on nothing
    first: the next file would get their numbers, and with them what C libraries print.
    """
    _open_closed()
    out, err = Steady(sys.stdout or _nothing()), Steady(sys.stderr or _nothing())
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = cast("TextIO", err)
    with ExitStack() as end:
        end.callback(_restore, *before)
        end.callback(err.settle)
        end.callback(out.settle)
        yield out


def _restore(out: TextIO | None, err: TextIO | None) -> None:
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)


def _open_closed() -> None:
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _nothing() -> TextIO:
    """What stands for a stream that was closed when the program began."""
    return Path(os.devnull).open("w", encoding="utf-8")


def _encodable(text: str, encoding: str | None) -> str:
    """The text as far as the encoding has it, the rest escaped with backslashes."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def _extends_ascii(encoding: str) -> bool:
    return "\n".encode(encoding) == b"\n"
