"""A file of prompts: one a line, each with its own settings. Knows nothing of how a prompt becomes a video."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from wan2.errors import InputError

# The short names that Wan tools use inside a prompt file: name -> (field of `Options`, type).
LINE_SETTINGS: dict[str, tuple[str, type]] = {
    "w": ("width", int),
    "h": ("height", int),
    "f": ("num_frames", int),
    "d": ("seed", int),
    "s": ("infer_steps", int),
    "g": ("guidance_scale", float),
    "gh": ("guidance_scale_high_noise", float),
    "fs": ("flow_shift", float),
    "n": ("negative_prompt", str),
}
# Looks behind itself for one blank only: to look for all of them takes a time quadratic in a run of blanks.
_SETTING = re.compile(r"(?<=\s)--(\S+)")
# Thousands of long prompts; what is larger was not meant.
MAX_BYTES = 1 << 24
MAX_LINES = 10_000
MAX_LINE = 1 << 16
_REFUSED = {"\x00": "a NUL character", "\ufeff": "a byte order mark, which only the beginning of a file may have"}


@dataclass(frozen=True)
class Line:
    """One line of a file of prompts; its number counts every line, from 1."""

    path: Path
    number: int
    text: str

    @property
    def place(self) -> str:
        """How messages call it."""
        return f"`from_file` {self.path}:{self.number}"


def read_lines(path: Path) -> list[Line]:
    """Every line that says something; blank lines and lines that begin with # do not.

    A line ends where it does in an editor, at LF, CR LF or CR; other separators of Unicode are white space within it.

    Raises:
        InputError: the file cannot be read, is too large, is not UTF-8 text, has too many lines, or says nothing.
    """
    lines = []
    for number, text in enumerate(StringIO(_read_text(path), newline=None), 1):
        line = Line(path, number, text.strip())
        if number > MAX_LINES:
            raise InputError(
                f"has more than {MAX_LINES} lines; make several files of it", field="from_file", value=path
            )
        if line.text and not line.text.startswith("#"):
            lines.append(line)
    if not lines:
        raise InputError("has no line that says anything", field="from_file", value=path)
    return lines


def _read_text(path: Path) -> str:
    """The whole file; read no further than it may be long."""
    try:
        if path.exists() and not path.is_file():
            raise InputError("is not a file", field="from_file", value=path)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{(error.strerror or 'cannot be read').lower()}", field="from_file", value=path) from error
    if len(content) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES} bytes", field="from_file", value=path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text (byte {error.start})", field="from_file", value=path) from error


def parse_line(line: Line) -> dict[str, Any]:
    """The prompt and the settings of one line: `A cat on a roof --d 42 --w 832 --h 480 --n blurry`.

    Raises:
        InputError: a line that is too long or holds what no text has, an unknown setting, one without a value, or a
            value of the wrong type.
    """
    if len(line.text) > MAX_LINE:
        raise InputError(f"{line.place}: is longer than {MAX_LINE} characters")
    if odd := next((what for char, what in _REFUSED.items() if char in line.text), None):
        raise InputError(f"{line.place}: holds {odd}")
    prompt, *rest = _SETTING.split(f" {line.text}")
    given: dict[str, Any] = {"prompt": prompt.strip()}
    for name, value in zip(rest[::2], rest[1::2], strict=True):
        given |= dict([_parse_setting(line.place, name, value.strip())])
    return given


def _parse_setting(where: str, name: str, value: str) -> tuple[str, Any]:
    if name not in LINE_SETTINGS:
        known = ", ".join(f"--{known}" for known in LINE_SETTINGS)
        raise InputError(f"{where} --{name}: not a setting of a line; those are {known}")
    field, kind = LINE_SETTINGS[name]
    if not value:
        raise InputError(f"{where} --{name}: has no value")
    try:
        return field, kind(value)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise InputError(f"{where} --{name} {value}: must be {wanted}") from error
