"""A film as a folder: its boards, the settings of the page, its takes and its queue. Knows nothing of HTTP.

FOLDER/NAME.json      a board: a storyboard like any other
FOLDER/studio.json    what the page runs boards with
FOLDER/models.json    where the weights lie, once it was said
FOLDER/takes/         what was made
FOLDER/queue/         what is to be made
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from holocine_ext.story.fields import MAX_BYTES, SUFFIXES, read_document
from holocine_ext.story.foreign import translated
from holocine_ext.story.prompt import parse_prompt
from wan2.errors import InputError
from wan2.files import held, whole_file

SETTINGS = "studio.json"
PLACES = "models.json"
OWN = (SETTINGS, PLACES)
TAKES, QUEUE = "takes", "queue"
BOARD = ".json"
NAME = re.compile(r"[^\W_][\w ()+,-]{0,79}")
"""The name of a board, without its suffix: what every disk takes, and no path."""


class Changed(Exception):
    """A board on disk is another than the one that was opened; `found` is what is there, None if it is gone."""

    def __init__(self, found: Opened | None) -> None:
        super().__init__("the board was changed elsewhere")
        self.found = found


@dataclass(frozen=True)
class Opened:
    """A board as it lies on disk: its name, its document, and a hash of its bytes."""

    name: str
    document: Mapping[str, Any]
    version: str

    def as_json(self) -> dict[str, Any]:
        """What the page gets."""
        return {"name": self.name, "document": self.document, "version": self.version}


@dataclass(frozen=True)
class Film:
    """The folder of a film. One process writes to its boards at a time; others and editors are noticed."""

    folder: Path
    _writing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def takes(self) -> Path:
        """Where films, sheets and records are."""
        return self.folder / TAKES

    @property
    def queue(self) -> Path:
        """Where the jobs are."""
        return self.folder / QUEUE

    def boards(self) -> dict[str, str]:
        """The boards and the storyboards in other formats: name of the file -> hash of its bytes."""
        found = {}
        for path in sorted(self.folder.iterdir(), key=lambda path: path.name.casefold()):
            if path.suffix.lower() in SUFFIXES and path.name not in OWN and NAME.fullmatch(path.stem):
                content = _content(path)
                if content is not None:
                    found[path.name] = _hash(content)
        return found

    def open(self, name: str) -> Opened:
        """A board as it is now.

        Raises:
            InputError: there is none of that name, or what is there cannot be read.
        """
        path = self.path(name)
        content = _content(path)
        if content is None:
            raise InputError(f"{name}: no such board")
        return Opened(name, _parsed(name, content), _hash(content))

    def save(self, name: str, document: Mapping[str, Any], version: str) -> str:
        """Write a board, whole or not at all; the hash of what is there then.

        Args:
            name: that of its file.
            document: the storyboard.
            version: of the board that was changed; empty for a new one.

        Raises:
            Changed: what is there is not of that version. Nothing was written.
            InputError: the name is none, or the document is too large.
        """
        path, content = self.path(name), _written(name, document)
        with self._writing, held(path) as work:
            part = work / path.name
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            there = _content(path)
            if (_hash(there) if there is not None else "") != version:
                raise Changed(None if there is None else Opened(name, _parsed(name, there), _hash(there)))
            part.replace(path)
        return _hash(content)

    def take_in(self, name: str, content: bytes) -> str:
        """A storyboard in any format as a new board; its name.

        Raises:
            InputError: it cannot be read as a storyboard.
        """
        source = Path(name.replace("\\", "/")).name
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"board{Path(source).suffix}"
            path.write_bytes(content)
            try:
                document = as_board(_ours(path, source))
            except InputError as error:
                raise InputError(str(error).replace(str(path), source)) from error
        return self.add(Path(source).stem, document)

    def add(self, stem: str, document: Mapping[str, Any]) -> str:
        """A new board, under a free name like `stem`; the name of its file."""
        plain = re.sub(r"[^\w ()+,-]+", "-", stem).strip(" -_")[:60] or "scene"
        names = (f"{plain}{'' if number == 1 else f' {number}'}{BOARD}" for number in range(1, 10_000))
        free = next(name for name in names if name not in OWN and not os.path.lexists(self.folder / name))
        self.save(free, document, "")
        return free

    def path(self, name: str) -> Path:
        """Where a board lies; never outside of the folder.

        Raises:
            InputError: the name is that of no board.
        """
        path = self.folder / name
        plain = path.name == name and path.suffix.lower() in SUFFIXES and NAME.fullmatch(path.stem)
        if not plain or name in OWN:
            raise InputError(f"{name!r}: a board has a plain name that ends in {BOARD}")
        if path.is_symlink():
            raise InputError(f"{name}: is a link, which the page does not follow")
        return path

    def settings(self) -> dict[str, Any]:
        """What the page runs boards with; nothing where that was never said or cannot be read."""
        content = _content(self.folder / SETTINGS)
        try:
            found = json.loads(content or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def keep_settings(self, settings: Mapping[str, Any]) -> None:
        """Write what the page runs boards with."""
        content = _written(SETTINGS, settings)
        with self._writing, whole_file(self.folder / SETTINGS) as part:
            part.write_bytes(content)


def _ours(path: Path, source: str) -> dict[str, Any]:
    """The storyboard in a file, also one of another program, in the fields of ours."""
    read = translated(document := read_document(path, source))
    return document if read is None else read.document


def as_board(document: Mapping[str, Any]) -> dict[str, Any]:
    """A storyboard in the form that the page edits: `global_caption` and `shots`.

    Raises:
        InputError: a raw prompt without tags, which has no shots.
    """
    board = dict(document)
    if isinstance(captions := board.get("shot_captions"), list) and "shots" not in board:
        board["shots"] = [{"caption": caption} for caption in captions]
        del board["shot_captions"]
    if isinstance(prompt := board.get("prompt"), str):
        shared, shots = parse_prompt(prompt, "prompt")
        if shared is None:
            raise InputError("prompt: has no tags, so it has no shots that the page could show")
        board |= {"global_caption": shared, "shots": [{"caption": caption} for caption in shots]}
        del board["prompt"]
    return board


def _written(name: str, document: Mapping[str, Any]) -> bytes:
    """A document as the bytes of its file."""
    try:
        content = (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: cannot be written as JSON: {error}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{name}: is larger than {MAX_BYTES} bytes")
    return content


def _parsed(name: str, content: bytes) -> dict[str, Any]:
    """What a board holds. Raises `InputError` where it is no storyboard of JSON."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{name}: must hold fields")
    return as_board(found)


def _content(path: Path) -> bytes | None:
    """The bytes of a board; None where there is none that could be one."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        return path.read_bytes()
    except OSError:
        return None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
