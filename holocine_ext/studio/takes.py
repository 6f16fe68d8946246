"""What was made, as the page shows it: films with their records, and what a person marked. Runs nothing."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from holocine_ext.request import SHEET_ENDING
from wan2.errors import InputError
from wan2.files import whole_file
from wan2.plan.ours import is_state
from wan2.plan.recorded import read_record
from wan2.request.output import LATENT_SUFFIX

MARKS = "marks.json"
NAME = re.compile(r"[^\W_][\w ()+,.-]{0,200}")
SHOWN_FILES = (".mp4", ".png", ".json", ".safetensors")
LONGEST_NOTE = 2000


class Takes:
    """The takes of a folder. Records are read once; a file that changes is read again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[float, dict[str, Any] | None]] = {}
        self._alone = threading.Lock()

    def stamp(self) -> str:
        """What changes when a take comes, goes or is marked."""
        stats = [self._stat(self.folder), self._stat(self.folder / MARKS)]
        return "-".join(str(stat) for stat in stats)

    def all(self) -> list[dict[str, Any]]:
        """Every take as JSON values, the newest first."""
        if not self.folder.is_dir():
            return []
        with self._alone:
            marks = self._marks()
            found = [take | marks.get(take["name"], {}) for take in self._read_all()]
        return sorted(found, key=lambda take: (take["created"], take["name"]), reverse=True)

    def mark(self, name: str, kept: bool, note: str) -> None:
        """Keep a take, with a note, or no longer.

        Raises:
            InputError: there is no such take, or the note is too long.
        """
        if not self.path(f"{name}.mp4").is_file():
            raise InputError(f"{name}: no such take")
        if len(note) > LONGEST_NOTE:
            raise InputError(f"note: is longer than {LONGEST_NOTE} characters")
        with self._alone:
            marks = self._marks() | {name: {"kept": kept, "note": note}}
            with whole_file(self.folder / MARKS) as part:
                part.write_text(json.dumps(marks, indent=1, ensure_ascii=False), encoding="utf-8")

    def path(self, name: str) -> Path:
        """A file of a take; never one outside of the folder.

        Raises:
            InputError: the name is that of no such file.
        """
        path = self.folder / name
        if path.name != name or not NAME.fullmatch(name) or path.suffix not in SHOWN_FILES or path.is_symlink():
            raise InputError(f"{name!r}: no such file")
        return path

    def discard_state(self, name: str) -> None:
        """Remove how far a film had come that nobody wants any more."""
        state, preview = self.path(f"{name}.state.safetensors"), self.path(f"{name}_preview.png")
        if is_state(state):
            state.unlink()
            preview.unlink(missing_ok=True)

    def _read_all(self) -> Iterator[dict[str, Any]]:
        seen = {}
        for path in self.folder.glob("*.mp4"):
            record = path.with_suffix(".json")
            stamp = self._stat(record)
            known = self._known.get(path.stem)
            seen[path.stem] = known if known and known[0] == stamp else (stamp, _take(path.stem, record))
        self._known = seen
        yield from (take for _, take in seen.values() if take is not None)

    def _marks(self) -> dict[str, dict[str, Any]]:
        with suppress(OSError, ValueError):
            found = json.loads((self.folder / MARKS).read_bytes())
            if isinstance(found, dict):
                return {name: _mark(mark) for name, mark in found.items() if isinstance(mark, dict)}
        return {}

    @staticmethod
    def _stat(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0


def _mark(mark: Mapping[str, Any]) -> dict[str, Any]:
    return {"kept": mark.get("kept") is True, "note": str(mark.get("note", ""))[:LONGEST_NOTE]}


def _take(name: str, path: Path) -> dict[str, Any] | None:
    """A take by its record; None for a film that has none, as one of its single shots, or one that is forged."""
    try:
        record = read_record(path)
        return None if record is None else _values(name, record, path.parent)
    except (InputError, OSError, TypeError, ValueError, KeyError):
        return None


def _values(name: str, record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    options, cuts, captions = record["options"], record["cuts"], record["captions"]
    edges = [0, *map(int, cuts), int(record["num_frames"])]
    shots = [{"frames": [a, b], "caption": str(text)} for (a, b), text in zip(pairwise(edges), captions, strict=True)]
    storyboard = record.get("storyboard") or {}
    sheet, latents = folder / f"{name}{SHEET_ENDING}", folder / f"{name}{LATENT_SUFFIX}"
    return {
        "name": name,
        "board": str(storyboard.get("source") or ""),
        "title": str(record.get("title") or ""),
        "created": str(record["created"]),
        "seed": int(options["seed"]),
        "fps": float(options["fps"]),
        "steps": int(options["infer_steps"]),
        "model": str(record["model"]),
        "variant": str(record["variant"]),
        "seconds": round(sum(map(float, record["seconds"].values())), 1),
        "shots": shots,
        "latents": latents.is_file(),
        "sheet": sheet.name if sheet.is_file() else "",
        "kept": False,
        "note": "",
    }


def board_of(record: Mapping[str, Any], taken: str | None = None) -> dict[str, Any]:
    """The board that a take was made from, as the page edits it.

    taken: the film, relative to the board, of which every shot is then held as it is; None makes all of them anew.

    Raises:
        InputError: the record holds none.
    """
    try:
        board, cuts, options = record["storyboard"], record["cuts"], record["options"]
        shots: list[dict[str, Any]] = [{"caption": caption} for caption in board["shot_captions"]]
        for number, (shot, cut) in enumerate(zip(shots, (None, *cuts), strict=True), 1):
            shot |= {"from": f"{taken}#{number}"} if taken else {} if cut is None else {"cut_frame": cut}
        if board["global_caption"] is None:
            raise InputError("the take has no shots that the page could show")
        found = {"global_caption": board["global_caption"], "fps": options["fps"]}
        found |= {} if taken else {"num_frames": record["num_frames"]}
        return found | {"size": [options["height"], options["width"]], "seed": options["seed"], "shots": shots}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("its record holds no storyboard") from error
