"""The fields of a storyboard as a person writes them, read strictly. Opens no file.

They are described in `from_document`, and shown in `examples/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holocine_ext.story.cast import Member, as_tables, member_of
from holocine_ext.story.characters import Character, check_cast, introduce, number_references, uncalled
from holocine_ext.story.direction import DIRECTION, any_of, direction_of
from holocine_ext.story.fields import Fields, refuse_unknown, unknown_fields
from holocine_ext.story.lengths import FROM, TIMES, timing
from holocine_ext.story.settings import of_film
from holocine_ext.story.storyboard import Storyboard, check_own_caption, from_prompt, structured
from holocine_ext.story.synonyms import OF_SCENE, OF_SHOT
from wan2.errors import InputError
from wan2.request.flat import RANGES
from wan2.shapes import SIZE_MULTIPLE

OF_VIDEO = ("shot_cut_frames", "num_frames", "fps", "seed", "size")
FIELDS = (
    *("prompt", "global_caption", "characters", "cast", "shots"),
    *OF_VIDEO,
    *("shot_captions", "settings", "soundtrack"),
)
CAPTIONS = ("global_caption", "shots", "shot_captions", "characters", "cast")
SHOT_FIELDS = ("caption", *TIMES, *DIRECTION)
MOST_CHARACTERS = 100
# What `settings` may hold besides, under these names or those of the flags.
VIDEO_FLAGS = {"video_length": "num_frames", "video_size": "size"}
SOUND = "soundtrack"
MOVED = ("num_frames", "fps", "seed", "size", *VIDEO_FLAGS)


def from_document(document: object, source: str) -> Storyboard:
    """The scene of a parsed document; `source` begins every message.

    Either `prompt` (a raw prompt, kept as it is), or `global_caption` and `shots`: a list of tables with a `caption`
    and at most one of `seconds`, `frames` (how long; the last shot may leave it open) and `cut_frame` (its first
    frame); what else a shot may say is in `direction.py`. `shot_captions`, a list of captions, may stand for `shots`.
    `cast` is a list of what all shots see (`cast.py`). `characters` maps names to descriptions (`characters.py`).
    `shot_cut_frames` lists all cuts at once. `num_frames`, `fps`, `seed` and `size` ([height, width] in pixels) are
    optional, and so is the table `settings` (`settings.py`), which may hold these four, too.

    Raises:
        InputError: a field that is not known (all of them are named at once), or one that breaks its rule.
    """
    table = _with_video(document, source)
    refuse_unknown(source, [*unknown_fields(table, FIELDS, OF_SCENE), *_unknown_in_shots(table)])
    fields = Fields(table, source, FIELDS)
    known: dict[str, Any] = {
        "shot_cut_frames": fields.whole_list("shot_cut_frames"),
        "num_frames": fields.whole("num_frames", *RANGES["num_frames"]),
        "fps": fields.number("fps", *RANGES["fps"]),
        "seed": fields.whole("seed", *RANGES["seed"]),
        "size": _size(fields),
        "settings": of_film(fields.table.get("settings"), f"{source}: settings", Path(source).parent),
        "source": source,
    }
    prompt, global_caption, shots = fields.text("prompt"), fields.text("global_caption"), _shots(fields)
    if prompt is not None:
        if twice := [field for field in CAPTIONS if fields.table.get(field) is not None]:
            raise InputError(f"{source}: prompt and {twice[0]}: two ways of giving a scene; give exactly one")
        return replace(from_prompt(prompt, name=fields.name("prompt")), **known)
    if global_caption is None:
        raise InputError(f"{source}: global_caption: missing; it says what all shots share")
    if not isinstance(shots, list) or not shots:
        raise InputError(f"{source}: shots: missing; a list of shots, each with a caption, for example [[shots]]")
    return _from_shots(fields, global_caption, shots, known)


def _with_video(document: object, source: str) -> object:
    """The document with what `settings` say of the video itself in its own fields."""
    if not isinstance(document, Mapping):
        return document
    settings = document.get("settings", {})
    if not isinstance(settings, Mapping):
        return document
    if document.get(SOUND) is not None:
        if settings.get(SOUND) is not None:
            raise InputError(f"{source}: {SOUND}: given twice, in settings and outside of them")
        settings = {**settings, SOUND: document[SOUND]}
    moved = {VIDEO_FLAGS.get(name, name): value for name, value in settings.items() if name in MOVED}
    if twice := [name for name in moved if document.get(name) is not None]:
        raise InputError(f"{source}: {twice[0]}: given twice, in settings and outside of them")
    rest = {name: value for name, value in settings.items() if name not in MOVED}
    return {**document, **moved, "settings": rest}


def _unknown_in_shots(document: object) -> Iterator[str]:
    shots = document.get("shots") if isinstance(document, Mapping) else None
    for number, shot in enumerate(shots if isinstance(shots, list) else (), 1):
        yield from (f"shot {number}: {line}" for line in unknown_fields(shot, SHOT_FIELDS, OF_SHOT))


def _shots(fields: Fields) -> object:
    """The list of shots; `shot_captions`, under which other programs know it, says no more than their captions."""
    captions = fields.table.get("shot_captions")
    if captions is None:
        return fields.table.get("shots")
    if fields.table.get("shots") is not None:
        raise InputError(f"{fields.place}: shots and shot_captions: two ways of giving the captions; give exactly one")
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise fields.refuse("shot_captions", "must be a list of captions, a text for every shot")
    return [{"caption": caption} for caption in captions]


def _from_shots(fields: Fields, global_caption: str, shots: Sequence[object], known: dict[str, Any]) -> Storyboard:
    """The scene of a global caption and a list of shots."""
    check_own_caption(global_caption, fields.name("global_caption"))
    names = _characters(fields)
    text = introduce(global_caption, names, fields.name("global_caption"))
    tables = [Fields(shot, f"{fields.place}: shot {i}", SHOT_FIELDS) for i, shot in enumerate(shots, 1)]
    directions = any_of([direction_of(table, Path(fields.place).parent) for table in tables])
    captions = tuple(number_references(_caption(table), names, table.name("caption"), text) for table in tables)
    lengths, cuts = timing(fields.place, tables)
    if known["shot_cut_frames"] is not None:
        if lengths or cuts is not None:
            raise InputError(f"{fields.place}: shot_cut_frames: the shots say their own times; give one or the other")
        cuts = known["shot_cut_frames"]
    notes = tuple(f"{fields.place}: characters {name}: no shot calls [{name}]" for name in uncalled(names, captions))
    known |= {"shot_cut_frames": cuts, "lengths": lengths, "directions": directions}
    known |= {"cast": tuple(_member(table, names, text) for table in as_tables(fields.table.get("cast"), fields.place))}
    return structured(text, captions, **known, characters=names, notes=notes)


def _member(table: Fields, names: Sequence[Character], text: str) -> Member:
    """One of the cast."""
    caption = table.text("caption")
    if caption is None:
        raise InputError(f"{table.name('caption')}: missing; say in words what it shows")
    check_own_caption(caption, table.name("caption"))
    numbered = number_references(caption, names, table.name("caption"), text)
    return member_of(table, numbered, Path(table.place.partition(": cast ")[0]).parent)


def _caption(shot: Fields) -> str:
    """The caption of a shot, checked."""
    caption = shot.text("caption")
    if caption is None and shot.table.get(FROM) is not None:
        return ""  # that of the take
    if caption is None:
        raise InputError(f"{shot.name('caption')}: missing; say in words what the shot shows")
    check_own_caption(caption, shot.name("caption"))
    return caption


def _characters(fields: Fields) -> tuple[Character, ...]:
    """The named characters, in the order of the file."""
    table = fields.table.get("characters")
    if table is None:
        return ()
    if not isinstance(table, dict) or not all(isinstance(x, str) for item in table.items() for x in item):
        raise fields.refuse("characters", "must be names with a description each")
    if len(table) > MOST_CHARACTERS:
        raise InputError(f"{fields.name('characters')}: lists {len(table)}; must be at most {MOST_CHARACTERS}")
    found = tuple(Character(name, description) for name, description in table.items())
    check_cast(found, fields.name("characters"))
    return found


def _size(fields: Fields) -> tuple[int, int] | None:
    """(height, width) in pixels."""
    size = fields.whole_list("size")
    if size is None:
        return None
    if len(size) != 2 or any(side < SIZE_MULTIPLE or side % SIZE_MULTIPLE for side in size):
        raise fields.refuse("size", f"must be [height, width], both multiples of {SIZE_MULTIPLE}")
    return size[0], size[1]
