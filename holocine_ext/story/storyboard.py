"""A scene as a person gives it: a file, captions, or a raw prompt. Reads and checks; plans nothing.

The fields of a file are described in `from_document` and shown in `examples/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holocine_ext.story.characters import Character, check_cast, introduce, number_references, uncalled
from holocine_ext.story.direction import DIRECTION, Direction, any_of, direction_of
from holocine_ext.story.fields import Fields, read_document
from holocine_ext.story.lengths import FROM, TIMES, ShotLength, timing
from holocine_ext.story.prompt import build_prompt, check_caption, parse_prompt
from holocine_ext.story.synonyms import OF_SCENE, OF_SHOT
from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.request.flat import RANGES
from wan2.shapes import SIZE_MULTIPLE
from wan2.text.tokenizer import check_length

SETTINGS = ("shot_cut_frames", "num_frames", "fps", "seed", "size")
FIELDS = ("prompt", "global_caption", "characters", "shots", *SETTINGS, "shot_captions")
CAPTIONS = ("global_caption", "shots", "shot_captions", "characters")
MOST_CHARACTERS = 100
SIZE = ("height", "width")


@dataclass(frozen=True)
class Storyboard:
    """What a person said. Captions are as the model reads them; None stands for what was left open.

    `global_caption` is None for a prompt without tags: one shot, an ordinary video. `lengths` has an entry per shot, of
    which the last may be None (the rest of the video); lengths and `shot_cut_frames` exclude each other. `size` is
    (height, width) in pixels. `directions` has an entry per shot, or none; a shot from a take may have no caption yet,
    and then there is no prompt yet. `source` is the file, or "" for the command line; `notes` are warnings for the
    reader.
    """

    prompt: str
    global_caption: str | None
    shot_captions: tuple[str, ...]
    shot_cut_frames: tuple[int, ...] | None = None
    lengths: tuple[ShotLength | None, ...] | None = None
    characters: tuple[Character, ...] = ()
    num_frames: int | None = None
    fps: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    directions: tuple[Direction, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path | str) -> Storyboard:
        """The scene of a file: .toml, .json or .yaml.

        Raises:
            InputError: no such file, or a scene that breaks a rule; with the file, the field and the rule.
        """
        return from_arguments(storyboard=Path(path))

    @classmethod
    def of(cls, global_caption: str, shot_captions: Sequence[str], cuts: Sequence[int] | None = None) -> Storyboard:
        """The scene of captions; `cuts` are the first frames of the shots after the first, even ones without.

        Raises:
            InputError: a caption that breaks a rule.
        """
        return from_arguments(global_caption=global_caption, shot_captions=shot_captions, shot_cut_frames=cuts)

    def with_shots(self, captions: Sequence[str], lengths: Sequence[ShotLength | None]) -> Storyboard:
        """The same scene with every caption and length. Raises `InputError` for captions that are too long together."""
        if self.global_caption is None:
            raise ValueError("a raw prompt has its captions")
        prompt = build_prompt(self.global_caption, captions)
        check_length(prompt, self.caption_name)
        return replace(self, prompt=prompt, shot_captions=tuple(captions), lengths=tuple(lengths))

    @property
    def caption_name(self) -> str:
        """How messages call the captions."""
        if self.source:
            return f"{self.source}: captions"
        return "`prompt`" if self.global_caption is None else "`shot_captions`"


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
    cuts = None if shot_cut_frames is None else tuple(shot_cut_frames)
    if storyboard is not None:
        if cuts is not None:
            raise InputError(
                "a storyboard says where its own cuts are; change them in the file", field="shot_cut_frames"
            )
        return from_file(storyboard)
    if prompt is not None:
        return from_prompt(prompt, cuts)
    if global_caption is None:
        raise InputError("needs `global_caption`, which says what all shots share", field="shot_captions")
    if not shot_captions:
        raise InputError("needs `shot_captions`, one for every shot", field="global_caption")
    _check_caption(global_caption, "`global_caption`")
    for number, caption in enumerate(shot_captions, 1):
        _check_caption(caption, f"`shot_captions`, shot {number}")
    return _structured(global_caption, tuple(shot_captions), shot_cut_frames=cuts)


def _check_caption(caption: str, name: str) -> None:
    """Refuse what is no caption, however its check fails."""
    check_length(caption, name)
    with Reading(name):
        check_caption(caption, name)


def from_prompt(prompt: str, shot_cut_frames: tuple[int, ...] | None = None, name: str = "`prompt`") -> Storyboard:
    """The scene of a raw prompt, which is kept as it is; without tags, a single shot and an ordinary video."""
    check_length(prompt, name)
    with Reading(name):
        global_caption, captions = parse_prompt(prompt, name)
    return Storyboard(prompt.strip(), global_caption, captions, shot_cut_frames)


def from_file(path: Path) -> Storyboard:
    """The scene of a TOML, JSON or YAML file, or the one that the record of a run tells of.

    Raises:
        InputError: the file cannot be read, or breaks a rule; one line with file, field, value and rule.
    """
    document = read_document(path, "`storyboard`")
    with Reading(str(path)):
        if isinstance(document.get("storyboard"), dict) and isinstance(document.get("options"), dict):
            from holocine_ext.story.recorded import from_record  # which reads captions by what is here

            return from_record(document, str(path))
        return from_document(document, str(path))


def from_document(document: object, source: str) -> Storyboard:
    """The scene of a parsed document; `source` begins every message.

    Either `prompt` (a raw prompt, kept as it is), or `global_caption` and `shots`: a list of tables with a `caption`
    and at most one of `seconds`, `frames` (how long; the last shot may leave it open) and `cut_frame` (its first
    frame); what else a shot may say is in `direction.py`. `shot_captions`, a list of captions, may stand for `shots`.
    `characters` maps names to descriptions (`characters.py`). `shot_cut_frames` lists all cuts at once. `num_frames`,
    `fps`, `seed` and `size` ([height, width] in pixels) are optional.
    """
    fields = Fields(document, source, FIELDS, OF_SCENE)
    settings: dict[str, Any] = {
        "shot_cut_frames": fields.whole_list("shot_cut_frames"),
        "num_frames": fields.whole("num_frames", *RANGES["num_frames"]),
        "fps": fields.number("fps", *RANGES["fps"]),
        "seed": fields.whole("seed", *RANGES["seed"]),
        "size": _size(fields),
        "source": source,
    }
    prompt, global_caption, shots = fields.text("prompt"), fields.text("global_caption"), _shots(fields)
    if prompt is not None:
        if twice := [field for field in CAPTIONS if fields.table.get(field) is not None]:
            raise InputError(f"{source}: prompt and {twice[0]}: two ways of giving a scene; give exactly one")
        return replace(from_prompt(prompt, name=fields.name("prompt")), **settings)
    if global_caption is None:
        raise InputError(f"{source}: global_caption: missing; it says what all shots share")
    if not isinstance(shots, list) or not shots:
        raise InputError(f"{source}: shots: missing; a list of shots, each with a caption, for example [[shots]]")
    return _from_shots(fields, global_caption, shots, settings)


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


def _from_shots(fields: Fields, global_caption: str, shots: Sequence[object], settings: dict[str, Any]) -> Storyboard:
    """The scene of a global caption and a list of shots."""
    _check_caption(global_caption, fields.name("global_caption"))
    cast = _cast(fields)
    text = introduce(global_caption, cast, fields.name("global_caption"))
    tables = [
        Fields(shot, f"{fields.place}: shot {i}", ("caption", *TIMES, *DIRECTION), OF_SHOT)
        for i, shot in enumerate(shots, 1)
    ]
    directions = any_of([direction_of(table, Path(fields.place).parent) for table in tables])
    captions = tuple(number_references(_caption(table), cast, table.name("caption"), text) for table in tables)
    lengths, cuts = timing(fields.place, tables)
    if settings["shot_cut_frames"] is not None:
        if lengths or cuts is not None:
            raise InputError(f"{fields.place}: shot_cut_frames: the shots say their own times; give one or the other")
        cuts = settings["shot_cut_frames"]
    notes = tuple(f"{fields.place}: characters {name}: no shot calls [{name}]" for name in uncalled(cast, captions))
    settings |= {"shot_cut_frames": cuts, "lengths": lengths, "directions": directions}
    return _structured(text, captions, **settings, characters=cast, notes=notes)


def _caption(shot: Fields) -> str:
    """The caption of a shot, checked."""
    caption = shot.text("caption")
    if caption is None and shot.table.get(FROM) is not None:
        return ""  # that of the take
    if caption is None:
        raise InputError(f"{shot.name('caption')}: missing; say in words what the shot shows")
    _check_caption(caption, shot.name("caption"))
    return caption


def _structured(global_caption: str, captions: tuple[str, ...], **settings: Any) -> Storyboard:  # noqa: ANN401
    """The storyboard of checked captions, which are not too long together."""
    prompt = build_prompt(global_caption, captions) if all(captions) else ""
    check_length(prompt, f"{settings['source']}: captions" if settings.get("source") else "`shot_captions`")
    return Storyboard(prompt, global_caption, captions, **settings)


def _cast(fields: Fields) -> tuple[Character, ...]:
    """The named characters, in the order of the file."""
    table = fields.table.get("characters")
    if table is None:
        return ()
    if not isinstance(table, dict) or not all(isinstance(x, str) for item in table.items() for x in item):
        raise fields.refuse("characters", "must be names with a description each")
    if len(table) > MOST_CHARACTERS:
        raise InputError(f"{fields.name('characters')}: lists {len(table)}; must be at most {MOST_CHARACTERS}")
    cast = tuple(Character(name, description) for name, description in table.items())
    check_cast(cast, fields.name("characters"))
    return cast


def _size(fields: Fields) -> tuple[int, int] | None:
    """(height, width) in pixels."""
    size = fields.whole_list("size")
    if size is None:
        return None
    if len(size) != 2 or any(side < SIZE_MULTIPLE or side % SIZE_MULTIPLE for side in size):
        raise fields.refuse("size", f"must be [height, width], both multiples of {SIZE_MULTIPLE}")
    return size[0], size[1]
