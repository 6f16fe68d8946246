"""A file, or what the command line gives, as a storyboard: finds out what it is. The only module here that opens files.

| file | read as |
|---|---|
| .toml, .json, .yaml | a storyboard, the record of a run, or what other programs write (`foreign.py`) |
| .txt, .md | JSON in it; else a prompt, with the times of its shots or without |
| .mp4, .safetensors | the record that a run left in it |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holocine_ext.story.document import from_document
from holocine_ext.story.embedded import json_in
from holocine_ext.story.fields import SUFFIXES, parsed, read_text
from holocine_ext.story.foreign import Read, translated
from holocine_ext.story.recorded import from_record
from holocine_ext.story.spelled_times import timed_text
from holocine_ext.story.storyboard import Storyboard, from_captions, from_prompt
from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.plan.told import TELLING, told_by

TEXTS = (".txt", ".md")
FENCES = ("```", "~~~")
OF_RECORD = ("storyboard", "options")


def from_arguments(
    storyboard: Path | None = None,
    prompt: str | None = None,
    global_caption: str | None = None,
    shot_captions: Sequence[str] | None = None,
    shot_cut_frames: Sequence[int] | None = None,
) -> Storyboard:
    """The scene that the command line gives: a file, captions, or a raw prompt; exactly one of them.

    Raises:
        InputError: no scene, two ways of giving one, captions without a global caption or the reverse, or a scene that
            breaks a rule of its own.
    """
    structured = global_caption is not None or shot_captions is not None
    ways = [
        flag
        for flag, given in (
            ("`storyboard`", storyboard is not None),
            ("`prompt`", prompt is not None),
            ("`shot_captions`" if global_caption is None else "`global_caption`", structured),
        )
        if given
    ]
    if not ways:
        raise InputError("no scene: give `storyboard`, or `global_caption` with `shot_captions`, or `prompt`")
    if len(ways) > 1:
        raise InputError(f"{' and '.join(ways)}: two ways of giving a scene; give exactly one")
    if storyboard is not None:
        if shot_cut_frames is not None:
            rule = "a storyboard says where its own cuts are; change them in the file"
            raise InputError(rule, field="shot_cut_frames")
        return from_file(storyboard)
    if prompt is not None:
        return from_text(prompt, "`prompt`", shot_cut_frames)
    return from_captions(global_caption, shot_captions, shot_cut_frames)


def load_storyboard(path: Path | str) -> Storyboard:
    """The scene of a file, as `from_file`."""
    return from_file(Path(path))


def from_file(path: Path) -> Storyboard:
    """The scene of a file: a storyboard, or whatever else tells of one; `notes` say what was understood.

    Raises:
        InputError: the file cannot be read, or breaks a rule; one line with file, field, value and rule.
    """
    suffix, source = path.suffix.lower(), str(path)
    known = (*SUFFIXES, *TEXTS, *TELLING)
    if suffix not in known:
        raise InputError(f"`storyboard` {path}: must end in {', '.join(name for name in known if name != '.yml')}")
    if suffix in TELLING:
        return _of_run(path)
    text = read_text(path, "`storyboard`")
    with Reading(source):
        if suffix in TEXTS:
            return _of_words(text, source)
        if suffix == ".json" and text.lstrip().startswith(FENCES):
            return _of_words(text, source)  # as language models answer where only JSON should be
        return from_value(parsed(path, text), source)


def from_value(value: object, source: str) -> Storyboard:
    """The scene of a parsed document of ours, of a record, or of another program; `source` begins every message.

    Raises:
        InputError: the document breaks a rule.
    """
    if isinstance(value, Mapping) and all(isinstance(value.get(name), dict) for name in OF_RECORD):
        return from_record(value, source)
    read = _placed(value, source)
    document = value if read is None else read.document
    timed = _timed(document, source)
    board = from_document(document if timed is None else timed.document, source)
    words = [one.words for one in (read, timed) if one is not None]
    return _said(board, "; ".join(words)) if words else board


def from_text(text: str, name: str, shot_cut_frames: Sequence[int] | None = None, source: str = "") -> Storyboard:
    """The scene of a prompt: with tags, with the times of its shots, or with neither, which is a single shot.

    Raises:
        InputError: it breaks a rule; `name` begins the message.
    """
    cuts = None if shot_cut_frames is None else tuple(shot_cut_frames)
    read = timed_text(text, name)
    if read is None:
        return replace(from_prompt(text, cuts, name), source=source)
    if cuts is not None:
        raise InputError("the prompt says the times of its shots; give one or the other", field="shot_cut_frames")
    board = from_document(read.document, source or name)
    return replace(_said(board, read.words), source=source)


def _placed(value: object, source: str) -> Read | None:
    try:
        return translated(value)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _timed(document: object, source: str) -> Read | None:
    """The document with the shots that its prompt gives times to; None where it gives none."""
    if not isinstance(document, Mapping) or not isinstance(prompt := document.get("prompt"), str):
        return None
    if (read := timed_text(prompt, f"{source}: prompt")) is None:
        return None
    rest = {name: value for name, value in document.items() if name != "prompt"}
    return Read(rest | read.document, read.words)


def _said(board: Storyboard, words: str) -> Storyboard:
    """The board with a note of what was understood."""
    return replace(board, notes=(f"{board.source or '`prompt`'}: read as {words}", *board.notes))


def _of_words(text: str, source: str) -> Storyboard:
    """The scene in a text file."""
    try:
        value = json_in(text)
    except ValueError as error:  # a key that is given twice
        raise InputError(f"{source}: {error}") from error
    if value is None:
        return from_text(text, source, source=source)
    return _said(from_value(value, source), "JSON in a text")


def _of_run(path: Path) -> Storyboard:
    """The scene of a finished video or of its latents."""
    if not path.is_file():
        raise InputError(f"`storyboard` {path}: no such file")
    record: dict[str, Any] | None = told_by(path)
    if not record or "storyboard" not in record:
        raise InputError(f"{path}: tells of no scene; was it written by this program, with its record?")
    with Reading(str(path)):
        return from_record(record, str(path))
