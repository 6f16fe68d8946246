"""Notices when a model file changes while a run uses it, which would mix old and new weights.

Knows nothing of the contents of a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from wan2.errors import RunError
from wan2.weights.fingerprint import fingerprint


class Stamp(NamedTuple):
    """What changes when a file is replaced or written to. `touched` also changes with its name, owner or links."""

    device: int
    inode: int
    size: int
    written: int
    touched: int


class Watch:
    """Files as they were when they were added."""

    def __init__(self) -> None:
        self._seen: dict[Path, Stamp] = {}
        self._prints: dict[Path, str] = {}

    def expect(self, files: Iterable[Path]) -> None:
        """Watch these, too, as they are now, before anything of them is read."""
        for file in files:
            if file not in self._seen and (stamp := stamp_of(file)) is not None:
                self._seen[file] = stamp

    def add(self, files: Iterable[Path]) -> None:
        """Watch these, too, as they are now or were when they were expected; they can be read."""
        for file in files:
            self.expect([file])
            if file in self._seen and file not in self._prints:
                found = _print(file)
                if stamp_of(file) == self._seen[file]:
                    self._prints[file] = found

    def check(self) -> None:
        """Refuse to go on with files that are not the ones that were added.

        Raises:
            RunError: the first that was replaced, written to or removed.
        """
        if file := self.changed():
            what = "was changed" if stamp_of(file) else "was removed"
            raise RunError(
                f"{file}: {what} while the run used it; what came of it since the last saved step is dropped"
            )

    def changed(self) -> Path | None:
        """The first file that was replaced, written to or removed since it was added, None if none was."""
        for file, stamp in self._seen.items():
            now = stamp_of(file)
            if now == stamp:
                continue
            if now and now[:-1] == stamp[:-1] and _print(file) == self._prints.get(file):
                self._seen[file] = now  # only its name, owner or links changed
                continue
            return file
        return None


def stamp_of(file: Path) -> Stamp | None:
    """The stamp of a file, None if it cannot be looked at."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return Stamp(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _print(file: Path) -> str:
    return str(fingerprint([file])["fingerprint"])
