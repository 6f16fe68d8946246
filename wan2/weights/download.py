"""Files of weights fetched from where they were published, those that are missing. Talks to the network, only here.

A file comes in beside its place, under a name that says which version it is of; what broke off is continued. Nothing
here is called unless it is asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from wan2.errors import InputError, RunError
from wan2.shown import one_line

REASON = 200
MARK = 12
"""Characters of a version in the name of a file that is not whole."""


class Remote(NamedTuple):
    """A published file: the repository, its name there, and the path at which a run looks for it."""

    repository: str
    name: str
    path: Path


class Missing(NamedTuple):
    """A file that is not there, or not whole, its size in bytes, and what is different in every version of it."""

    remote: Remote
    nbytes: int
    version: str = ""

    @property
    def part(self) -> Path:
        """Where it comes in."""
        return self.remote.path.with_name(f"{self.remote.path.name}.{self.version[:MARK]}.part")


def look_up(files: Sequence[Remote]) -> list[Missing]:
    """Those of the files that are missing here, or of another size than the published ones.

    Raises:
        RunError: the network fails, or a file is not published under its name.
    """
    listed: dict[tuple[str, str], tuple[int, str]] = {}
    for repository in dict.fromkeys(file.repository for file in files):
        listed |= {(repository, name): about for name, about in _listed(repository)}
    if absent := [file for file in files if (file.repository, file.name) not in listed]:
        raise RunError(f"{absent[0].repository} has no file {absent[0].name}")
    found = [Missing(file, *listed[file.repository, file.name]) for file in files]
    return [one for one in found if _size(one.remote.path) != one.nbytes]


def _listed(repository: str) -> list[tuple[str, tuple[int, str]]]:
    """Name, size and version of every file of a repository."""
    with _Network(repository):
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        tree = HfApi().list_repo_tree(repository, recursive=True)
        return [(entry.path, (entry.size, entry.blob_id)) for entry in tree if isinstance(entry, RepoFile)]


def check_room(missing: Iterable[Missing], folder: Path) -> int:
    """The bytes that are free where the files go.

    Raises:
        InputError: too few for what is still to come.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free, needed = shutil.disk_usage(place).free, sum(one.nbytes - max(0, _size(one.part)) for one in missing)
    if free < needed:
        rule = f"needs {needed / 1e9:.1f} GB more, {place} has {free / 1e9:.1f} GB free"
        raise InputError(rule, field="download")
    return free


def fetch(missing: Missing) -> None:
    """Fetch a file to its path, on from where an earlier try broke off.

    Raises:
        RunError: the network fails, or what came is not whole.
    """
    remote, part = missing.remote, missing.part
    remote.path.parent.mkdir(parents=True, exist_ok=True)
    with _Network(remote.repository), part.open("ab") as file:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(remote.repository, remote.name)
        begun, whole = file.tell(), missing.nbytes
        http_get(url, file, resume_size=begun, expected_size=whole, headers=build_hf_headers())
    if _size(part) != missing.nbytes:
        raise RunError(f"{part}: has {_size(part)} bytes, was published with {missing.nbytes}; delete it and try again")
    part.replace(remote.path)


def _size(path: Path) -> int:
    """Bytes of a file, -1 where there is none."""
    return path.stat().st_size if path.is_file() else -1


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
