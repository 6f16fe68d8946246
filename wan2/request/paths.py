"""A path as a person writes it. Knows nothing of what lies there."""

from __future__ import annotations

import errno
from pathlib import Path


def path_of(text: str) -> Path:
    """The path that a text means: `~` is the home folder of the user, `~name` that of another, `./~` a file.

    Raises:
        ValueError: an unknown user, or a name that no disk takes; the message is the value and the rule.
    """
    path = Path(text)
    if text.startswith("~"):  # a Path forgets the ./ that makes a name of ./~
        try:
            path = path.expanduser()
        except RuntimeError as error:
            raise ValueError(f"{text!r}: ~ with the name of an unknown user; ./~ is a file") from error
    check_name(path)
    return path


def check_name(path: Path) -> None:
    """Refuse a path that cannot be looked for.

    Raises:
        ValueError: the path and the rule.
    """
    if "\x00" in str(path):
        raise ValueError(f"{path}: holds a NUL character")
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    except OSError as error:
        too_long = "is too long, as a whole or in one of its names, for this disk"
        why = too_long if error.errno == errno.ENAMETOOLONG else f"leads nowhere ({error.strerror})"
        raise ValueError(f"{path}: {why}") from error
