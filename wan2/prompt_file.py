"""A file of prompts: one a line, each with its own settings. Knows nothing of how a prompt becomes a video."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
_SETTING = re.compile(r"\s+--(\S+)")
# Thousands of long prompts; what is larger was not meant.
MAX_BYTES = 1 << 24


@dataclass(frozen=True)
class Line:
    """One line of a file of prompts; its number counts every line, from 1."""

    path: Path
    number: int
    text: str

    @property
    def place(self) -> str:
        """How messages call it."""
        return f"--from_file {self.path}:{self.number}"


def read_lines(path: Path) -> list[Line]:
    """Every line that says something; blank lines and lines that begin with # do not.

    Raises:
        InputError: the file cannot be read, is too large, is not UTF-8, or says nothing.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"--from_file {path}: is not a file")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"--from_file {path}: is larger than {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"--from_file {path}: {(error.strerror or 'cannot be read').lower()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--from_file {path}: is not UTF-8 text (byte {error.start})") from error
    lines = [Line(path, number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    found = [line for line in lines if line.text and not line.text.startswith("#")]
    if not found:
        raise InputError(f"--from_file {path}: has no line that says anything")
    return found


def parse_line(line: Line) -> dict[str, Any]:
    """The prompt and the settings of one line: `A cat on a roof --d 42 --w 832 --h 480 --n blurry`.

    Raises:
        InputError: an unknown setting, one without a value, or a value of the wrong type.
    """
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
