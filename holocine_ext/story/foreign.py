"""Storyboards of other programs, read into the fields of ours, with words for what was understood. Opens no file.

Nothing is guessed: a table is read as another program's only if every field in it is one that is known there. Anything
else is left to `document.py`, which names every field that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holocine_ext.story.foreign_shots import IGNORED_IN_SHOT, LIST_NAMES, ShotList, is_foreign, sentences
from holocine_ext.story.prompt import COUNT_PHRASE
from holocine_ext.story.words import describe
from wan2.errors import InputError

# The arguments of HoloCine's own script that this program calls otherwise: as a setting of the film, or not at all.
_HOLOCINE_OWN = {
    "negative_prompt": "negative_prompt",
    "num_inference_steps": "infer_steps",
    "cfg_scale": "guidance_scale",
    "sigma_shift": "flow_shift",
    "tiled": "",
    "quality": "",
    "output_path": "",
    "height": "size",
    "width": "size",
}
_HOLOCINE = ("prompt", "global_caption", "shot_captions", "shot_cut_frames", "num_frames", "seed", "fps", "variant")
# What says something of all shots, in the order of the caption that it becomes a part of.
_SHARED: tuple[str, ...] = ("global_caption", "global_prompt", "global", "scene", "setting", "location", "description")
_SHARED += ("scene_description", "synopsis", "summary", "logline", "mood", "atmosphere", "style", "visual_style")
_KEPT = ("fps", "seed", "size", "num_frames", "settings")
_IGNORED = ("title", "name", "version", "notes", "duration", "total_duration", "total_seconds", "num_shots")
_SIDES = ("width", "height")


@dataclass(frozen=True)
class Read:
    """A storyboard in the fields of ours, and what was understood, for the reader."""

    document: dict[str, Any]
    words: str


def translated(value: object) -> Read | None:
    """Another program's storyboard; None where it is none that is known.

    Raises:
        InputError: its shots do not follow each other, or a value is of another type than its field has.
    """
    readers: Sequence[Callable[[object], Read | None]] = (_of_holocine, _of_list)
    return next((read for reader in readers if (read := reader(value)) is not None), None)


def _of_holocine(value: object) -> Read | None:
    """The arguments of HoloCine's own script, as JSON."""
    if not isinstance(value, Mapping) or not value.keys() & {"shot_captions", "prompt"}:
        return None
    own = value.keys() & _HOLOCINE_OWN.keys()
    if not own or value.keys() - {*_HOLOCINE, *_HOLOCINE_OWN}:
        return None
    document = {name: value[name] for name in value if name in _HOLOCINE and name != "variant"}
    settings = {_HOLOCINE_OWN[name]: value[name] for name in own if _HOLOCINE_OWN[name] not in ("", "size")}
    settings |= {"variant": value["variant"]} if "variant" in value else {}
    unused = sorted(name for name in own if not _HOLOCINE_OWN[name])
    said = f"; {', '.join(unused)} mean nothing here" if unused else ""
    return Read(document | _size(value) | {"settings": settings}, f"the arguments of HoloCine's own script{said}")


def _size(value: Mapping[str, Any]) -> dict[str, Any]:
    sides = [value.get(side) for side in reversed(_SIDES)]
    if None in sides:
        missing = [side for side in _SIDES if value.get(side) is None]
        if len(missing) == 1:
            raise InputError(f"{missing[0]}: missing; a size has width and height")
        return {}
    return {"size": sides}


def _of_list(value: object) -> Read | None:
    """A list of shots, by itself or under some name, each with a text and a time."""
    table: Mapping[str, Any] = value if isinstance(value, Mapping) else {"shots": value}
    names = [name for name in table if name in LIST_NAMES and isinstance(table[name], list)]
    known = {*_SHARED, *_KEPT, *_IGNORED, *_SIDES, "characters", *names}
    if len(names) != 1 or table.keys() - known or not is_foreign(table[names[0]], whole=names != ["shots"]):
        return None
    shots = ShotList.read(table[names[0]])
    cast = _cast(table.get("characters"))
    captions = [called(caption, cast) for caption in shots.captions]
    shared, parts = _shared(table, len(captions))
    document = {name: table[name] for name in _KEPT if table.get(name) is not None} | _size(table)
    document |= {"global_caption": called(shared, cast), "shots": shots.tables(captions)}
    document |= {"characters": cast} if cast else {}
    unused = [name for name in table if name in _IGNORED] + [name for name in shots.fields if name in IGNORED_IN_SHOT]
    return Read(document, f"{len(captions)} shots, {shots.words}; {parts}" + _unused(unused))


def _unused(names: Sequence[str]) -> str:
    return f"; left out: {', '.join(dict.fromkeys(names))}" if names else ""


def _shared(table: Mapping[str, Any], count: int) -> tuple[str, str]:
    """What all shots share, as one caption, and where it was found."""
    found = {name: table[name] for name in _SHARED if table.get(name) is not None}
    for name, text in found.items():
        if not isinstance(text, str):
            raise InputError(f"{name} {describe(text)}: must be text")
    if not found:
        return f"{COUNT_PHRASE} {count} shots.", "nothing says what all of them share (global_caption)"
    return sentences(list(found.values())), f"what they share from {', '.join(found)}"


def _cast(people: object) -> dict[str, str]:
    """Names and descriptions, from a table or from a list of tables."""
    if people is None:
        return {}
    if isinstance(people, Mapping):
        return dict(people)
    cast = {}
    for person in people if isinstance(people, list) else [None]:
        name, look = _person(person) if isinstance(person, Mapping) else (None, None)
        if not isinstance(name, str) or not isinstance(look, str):
            raise InputError(f"characters {describe(people)}: must be names with a description each")
        cast[name] = look
    return cast


def _person(table: Mapping[str, object]) -> tuple[object, object]:
    return table.get("name"), next(
        (table[name] for name in ("description", "appearance", "look") if name in table), None
    )


def called(caption: str, cast: Mapping[str, str]) -> str:
    """A caption in which people are called as the cast has them, in brackets."""
    for name in cast:
        caption = re.sub(rf"(?<![\w\[]){re.escape(name)}(?![\w\]])", f"[{name}]", caption)
    return caption
