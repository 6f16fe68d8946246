"""Texts made safe to show: short, and without characters that a terminal obeys or that nobody sees.

Knows nothing of where they are shown. Names of files, settings and metadata come from anywhere; what shows them calls
one of these functions once.
"""

from __future__ import annotations

import shlex
import unicodedata

LONGEST = 2000
"""Characters of a line."""
MOST_LINES = 200
GAP = " [...] "

# Controls (C0, C1), directions and other formats, lone surrogates, separators of lines and paragraphs.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# What Unicode calls ignorable and counts among letters and marks: fillers, joiners, selectors of variants.
_IGNORED = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_VARIANTS = (range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0000, 0xE1000))
# How Python holds a byte of a file name that is not text.
_BYTES = range(0xDC80, 0xDD00)


def escaped(text: str) -> str:
    r"""The text with every character escaped, as `\x1b` or `\u202e`, that controls a terminal or cannot be seen."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if _is_unseen(char) else char for char in text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, without its middle when it has more characters than `longest`."""
    if len(text) <= longest:
        return text
    kept = longest - len(GAP)
    head = kept * 3 // 4
    return f"{text[:head]}{GAP}{text[head - kept :]}"


def one_line(text: str, longest: int = LONGEST) -> str:
    """The text as one line that is safe to show: escaped, shortened, every run of white space one blank."""
    return shortened(escaped(shortened(" ".join(text.split()), longest)), longest)


def as_lines(text: str) -> str:
    """The text with its own line feeds, every line safe to show, the middle lines left out where there are too many."""
    lines = text.split("\n")
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES // 2], GAP.strip(), *lines[-MOST_LINES // 2 :]]
    return "\n".join(shortened(escaped(shortened(line))) for line in lines)


def command(words: list[str]) -> str:
    """The words as a command line for a shell; those that are not safe to show in the form `$'...'` of bash and zsh."""
    return " ".join(shlex.quote(word) if escaped(word) == word else _ansi_quoted(word) for word in words)


def _ansi_quoted(word: str) -> str:
    return "$'" + escaped(word.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def _is_unseen(char: str) -> bool:
    number = ord(char)
    return (
        unicodedata.category(char) in _UNSEEN or char in _IGNORED or any(number in variants for variants in _VARIANTS)
    )


def _escape(char: str) -> str:
    number = ord(char)
    if number in _BYTES:
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
