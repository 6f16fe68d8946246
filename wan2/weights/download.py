"""Files of weights fetched from where they were published, those that are missing. Talks to the network, only here.

A file that was broken off is continued by the library that fetches it. Nothing here is called unless it is asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from wan2.errors import InputError, RunError
from wan2.shown import one_line

PARTIAL = ".cache/huggingface/download"
REASON = 200


class Remote(NamedTuple):
    """A published file: the repository, its name there, and the path at which a run looks for it."""

    repository: str
    name: str
    path: Path


class Missing(NamedTuple):
    """A file that is not there, or not whole, and its size in bytes."""

    remote: Remote
    nbytes: int


def look_up(files: Sequence[Remote]) -> list[Missing]:
    """Those of the files that are missing here, or of another size than the published ones.

    Raises:
        RunError: the network fails, or a file is not published under its name.
    """
    sizes: dict[tuple[str, str], int] = {}
    for repository in dict.fromkeys(file.repository for file in files):
        sizes |= {(repository, name): size for name, size in _listed(repository)}
    if absent := [file for file in files if (file.repository, file.name) not in sizes]:
        raise RunError(f"{absent[0].repository} has no file {absent[0].name}")
    found = [Missing(file, sizes[file.repository, file.name]) for file in files]
    return [one for one in found if _size(one.remote.path) != one.nbytes]


def _listed(repository: str) -> list[tuple[str, int]]:
    """Name and size of every file of a repository."""
    with _Network(repository):
        from huggingface_hub import HfApi

        tree = HfApi().list_repo_tree(repository, recursive=True)
        return [(entry.path, entry.size) for entry in tree if hasattr(entry, "size")]


def check_room(missing: Iterable[Missing], folder: Path) -> int:
    """The bytes that are free where the files go.

    Raises:
        InputError: too few for what is still to come.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free, needed = shutil.disk_usage(place).free, sum(one.nbytes for one in missing) - _begun(folder)
    if free < needed:
        rule = f"needs {needed / 1e9:.1f} GB more, {place} has {free / 1e9:.1f} GB free"
        raise InputError(rule, field="download")
    return free


def fetch(missing: Missing, folder: Path) -> None:
    """Fetch a file to its path, on from where an earlier try broke off. folder: what all paths lie in.

    Raises:
        RunError: the network fails, or what came is not whole.
    """
    remote = missing.remote
    with _Network(remote.repository):
        from huggingface_hub import hf_hub_download

        came = Path(hf_hub_download(remote.repository, remote.name, local_dir=folder))
    if _size(came) != missing.nbytes:
        raise RunError(f"{came}: has {_size(came)} bytes, was published with {missing.nbytes}; delete it and try again")
    if came.absolute() != remote.path.absolute():
        remote.path.parent.mkdir(parents=True, exist_ok=True)
        came.replace(remote.path)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _begun(folder: Path) -> int:
    """Bytes of files that were broken off."""
    return sum(path.stat().st_size for path in (folder / PARTIAL).rglob("*.incomplete"))


class _Network:
    """A block that talks to the network: what goes wrong there is one line, and what came before is kept."""

    def __init__(self, repository: str) -> None:
        self.repository = repository

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            why = one_line(f"{type(error).__name__}: {error}", REASON)
            raise RunError(f"{self.repository}: cannot be fetched ({why}); the same command goes on") from error
