"""Notices when a model file changes while a run uses it: half of the old weights and half of the new would be neither.

Knows nothing of what is in a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wan2.errors import RunError

Stamp = tuple[int, int, int, int] | None


class Watch:
    """Files as they were when they were added."""

    def __init__(self) -> None:
        self._seen: dict[Path, Stamp] = {}

    def add(self, files: Iterable[Path]) -> None:
        """Watch these, too, as they are now."""
        self._seen |= {file: _stamp(file) for file in files if file not in self._seen}

    def check(self) -> None:
        """Refuse to go on with files that are not the ones that were added.

        Raises:
            RunError: the first that was replaced, written to or removed.
        """
        for file, stamp in self._seen.items():
            if (now := _stamp(file)) != stamp:
                what = "was changed" if now else "was removed"
                raise RunError(
                    f"{file}: {what} while the run used it; what it was in the making of is thrown away, back to the "
                    "last step that was saved"
                )


def _stamp(file: Path) -> Stamp:
    """What changes when a file is replaced or written to: device, inode, size and time of the last change."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
