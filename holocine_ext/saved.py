"""The scene of a run that goes on from its saved state, read as strictly as any other scene. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holocine_ext.presets import MODELS, VARIANTS
from holocine_ext.shots.layout import SHOT_MASK_TYPES, ShotLayout
from holocine_ext.story.fields import Fields
from holocine_ext.story.recorded import BOARD, told_storyboard
from holocine_ext.story.scene import Scene
from wan2.errors import InputError
from wan2.plan.saved import SavedState
from wan2.request.flat import RANGES
from wan2.shapes import VideoShape

FIELDS = ("title", "captions", "cuts", "storyboard", "model", "variant", "shot_mask_type", "held", "directions")
# Only where there are some.
MORE_FIELDS = ("cast", "begun")
SHOWING = ("export_shots", "contact_sheet", "export_timeline")


@dataclass(frozen=True)
class SavedScene:
    """A scene, its cuts as they lie, what it is made with and shown as, and which shots of it come from takes."""

    scene: Scene
    cuts: tuple[int, ...]
    model: str
    variant: str
    shot_mask_type: str | None
    export_shots: bool
    contact_sheet: bool
    export_timeline: bool = False
    held: tuple[Mapping[str, Any], ...] = ()
    cast: tuple[Mapping[str, Any], ...] = ()
    begun: Mapping[str, Any] | None = None


def saved_scene(state: SavedState) -> SavedScene:
    """The scene that a state tells of.

    Raises:
        InputError: the state is of a run without one, or what it says breaks a rule.
    """
    place = f"`resume` {state.path}"
    if "storyboard" not in state.scene:
        raise InputError(f"{place}: was saved by another program, which alone can go on with it")
    Fields(state.scene, place, (*FIELDS, *MORE_FIELDS, *SHOWING))  # a record has others, too
    return read_scene(state.scene, place)


def read_scene(scene: Mapping[str, Any], place: str) -> SavedScene:
    """The scene of a state or of a record, which may hold more; `place` begins every message.

    Raises:
        InputError: it is of a run without a scene, or breaks a rule.
    """
    if "storyboard" not in scene:
        raise InputError(f"{place}: was made by another program, and tells of no shots")
    known = (*FIELDS, *MORE_FIELDS, *SHOWING)
    fields = Fields({name: scene[name] for name in known if name in scene}, place, known)
    board = Fields(scene["storyboard"], f"{place}: storyboard", BOARD)
    count = board.whole("num_frames", *RANGES["num_frames"])
    fps = board.number("fps", *RANGES["fps"])
    cuts = fields.whole_list("cuts")
    if count is None or fps is None or cuts is None:
        raise InputError(f"{place}: its scene has no length, no rate or no cuts")
    names = f"{place}: num_frames", f"{place}: cuts"
    made = Scene(
        told_storyboard(board, place, fields.table),
        count,
        fps,
        board.whole_list("shot_cut_frames"),
        names,
    )
    mask = fields.table.get("shot_mask_type")
    return SavedScene(
        made,
        cuts,
        _one_of(fields, "model", tuple(MODELS)),
        _one_of(fields, "variant", VARIANTS),
        None if mask is None else _one_of(fields, "shot_mask_type", SHOT_MASK_TYPES),
        fields.table.get("export_shots") is True,
        fields.table.get("contact_sheet") is True,
        fields.table.get("export_timeline") is True,
        held=_notes(fields, "held"),
        cast=_notes(fields, "cast"),
        begun=fields.table["begun"] if isinstance(fields.table.get("begun"), dict) else None,
    )


def saved_shots(record: Mapping[str, Any], place: str, shape: VideoShape) -> tuple[ShotLayout, str, tuple[str, ...]]:
    """The shots that the record of saved latents tells of: their layout, the title and the captions.

    Raises:
        InputError: shots that are not those of a video of this shape.
    """
    cuts, title, captions = record.get("cuts"), record.get("title", ""), record.get("captions")
    if not isinstance(cuts, list) or not all(type(cut) is int for cut in cuts):
        raise InputError(f"{place}: the cuts in its record are not a list of frames")
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in [title, *captions]):
        raise InputError(f"{place}: the captions in its record are not texts")
    if len(captions) != len(cuts) + 1:
        raise InputError(f"{place}: its record has {len(captions)} captions for {len(cuts) + 1} shots")
    try:
        return ShotLayout(shape.num_frames, tuple(cuts), shape.tokens_per_frame), title, tuple(captions)
    except ValueError as error:
        raise InputError(f"{place}: the cuts in its record do not fit its video: {error}") from error


def _notes(fields: Fields, name: str) -> tuple[Mapping[str, Any], ...]:
    notes = fields.table.get(name, [])
    if not isinstance(notes, list) or not all(isinstance(note, dict) for note in notes):
        raise fields.refuse(name, "must be a list of shots")
    return tuple(notes)


def _one_of(fields: Fields, name: str, choices: tuple[str, ...]) -> str:
    value = fields.text(name)
    if value not in choices:
        raise InputError(f"{fields.name(name)}: must be one of {', '.join(choices)}")
    return value
