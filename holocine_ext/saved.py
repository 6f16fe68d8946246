"""The scene of a run that goes on from its saved state, read as strictly as any other scene. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from holocine_ext.presets import MODELS, VARIANTS
from holocine_ext.shots.layout import SHOT_MASK_TYPES, ShotLayout
from holocine_ext.story.characters import Character
from holocine_ext.story.fields import Fields
from holocine_ext.story.scene import Scene, Storyboard
from holocine_ext.story.storyboard import from_arguments
from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.plan.saved import SavedState
from wan2.request.flat import RANGES
from wan2.shapes import VideoShape

FIELDS = ("title", "captions", "cuts", "storyboard", "model", "variant", "shot_mask_type")
SHOWING = ("export_shots", "contact_sheet")
BOARD = ("prompt", "global_caption", "shot_captions", "characters", "shot_cut_frames", "num_frames", "fps", "source")


@dataclass(frozen=True)
class SavedScene:
    """A scene, its cuts as they lie, and what it is made with and shown as."""

    scene: Scene
    cuts: tuple[int, ...]
    model: str
    variant: str
    shot_mask_type: str | None
    export_shots: bool
    contact_sheet: bool


def saved_scene(state: SavedState) -> SavedScene:
    """The scene that a state tells of.

    Raises:
        InputError: the state is of a run without one, or what it says breaks a rule.
    """
    place = f"`resume` {state.path}"
    if "storyboard" not in state.scene:
        raise InputError(f"{place}: was saved by another program, which alone can go on with it")
    fields = Fields(state.scene, place, (*FIELDS, *SHOWING))
    board = Fields(state.scene["storyboard"], f"{place}: storyboard", BOARD)
    count = board.whole("num_frames", *RANGES["num_frames"])
    fps = board.number("fps", *RANGES["fps"])
    cuts = fields.whole_list("cuts")
    if count is None or fps is None or cuts is None:
        raise InputError(f"{place}: its scene has no length, no rate or no cuts")
    names = f"{place}: num_frames", f"{place}: cuts"
    scene = Scene(_storyboard(board, place), count, fps, board.whole_list("shot_cut_frames"), names)
    mask = fields.table.get("shot_mask_type")
    return SavedScene(
        scene,
        cuts,
        _one_of(fields, "model", tuple(MODELS)),
        _one_of(fields, "variant", VARIANTS),
        None if mask is None else _one_of(fields, "shot_mask_type", SHOT_MASK_TYPES),
        *(fields.table.get(name) is True for name in SHOWING),
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


def _one_of(fields: Fields, name: str, choices: tuple[str, ...]) -> str:
    value = fields.text(name)
    if value not in choices:
        raise InputError(f"{fields.name(name)}: must be one of {', '.join(choices)}")
    return value


def _storyboard(board: Fields, place: str) -> Storyboard:
    """The storyboard whose prompt and captions agree, given as captions or raw."""
    prompt, shared, captions = board.text("prompt"), board.text("global_caption"), board.table.get("shot_captions")
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise InputError(f"{place}: its scene has no captions")
    ways: list[Mapping[str, Any]] = [{"prompt": prompt}]
    if shared is not None:
        ways.insert(0, {"global_caption": shared, "shot_captions": captions})
    for way in ways:
        with Reading(place):
            made = from_arguments(**way)
        if (made.prompt, made.global_caption, made.shot_captions) == (prompt, shared, tuple(captions)):
            return replace(made, characters=_cast(board), source=board.text("source") or "")
    raise InputError(f"{place}: its prompt and its captions do not agree")


def _cast(board: Fields) -> tuple[Character, ...]:
    table = board.table.get("characters")
    if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
        raise board.refuse("characters", "must be names with a description each")
    return tuple(Character(name, description) for name, description in table.items())
