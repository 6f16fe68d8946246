"""The storyboard that a record or a state tells of, read as strictly as any other. Plans nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from holocine_ext.story.cast import captions_with, told_cast
from holocine_ext.story.characters import Character
from holocine_ext.story.direction import told_directions
from holocine_ext.story.fields import Fields
from holocine_ext.story.storyboard import Storyboard, from_captions, from_prompt
from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.request.flat import RANGES

SIZE = ("height", "width")
BOARD = ("prompt", "global_caption", "shot_captions", "characters", "shot_cut_frames", "num_frames", "fps", "source")


def from_record(record: Mapping[str, Any], source: str) -> Storyboard:
    """The scene of a run, with its length, rate, size and seed; `source` begins every message.

    Raises:
        InputError: what the record says breaks a rule.
    """
    board = Fields(record["storyboard"], f"{source}: storyboard", BOARD)
    known = ("seed", "height", "width")
    options = Fields({name: record["options"].get(name) for name in known}, f"{source}: options", known)
    sides = [options.whole(name, *RANGES[name]) for name in SIZE]
    return replace(
        told_storyboard(board, source, record),
        shot_cut_frames=board.whole_list("shot_cut_frames"),
        num_frames=board.whole("num_frames", *RANGES["num_frames"]),
        fps=board.number("fps", *RANGES["fps"]),
        seed=options.whole("seed", *RANGES["seed"]),
        size=None if None in sides else tuple(sides),  # type: ignore[arg-type]
        source=source,
    )


def told_storyboard(board: Fields, place: str, record: Mapping[str, Any]) -> Storyboard:
    """The storyboard whose prompt and captions agree, as captions or raw; `record` tells of directions and cast."""
    prompt, shared, captions = board.text("prompt"), board.text("global_caption"), board.table.get("shot_captions")
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise InputError(f"{place}: its scene has no captions")
    if prompt is None:
        raise InputError(f"{place}: its scene has no prompt")
    cast = told_cast(record.get("cast", []), place)
    for structured in (True, False) if shared is not None else (False,):
        with Reading(place):
            every = captions_with(captions, cast)
            made = from_captions(shared, every) if structured else from_prompt(prompt)
        if (made.prompt, made.global_caption, made.shot_captions) == (prompt, shared, every):
            told = told_directions(record.get("directions"), place, len(captions))
            made = replace(made, shot_captions=tuple(captions), cast=cast)
            return replace(made, characters=_cast(board), source=board.text("source") or "", directions=told)
    raise InputError(f"{place}: its prompt and its captions do not agree")


def _cast(board: Fields) -> tuple[Character, ...]:
    table = board.table.get("characters")
    if not isinstance(table, dict) or not all(isinstance(text, str) for text in table.values()):
        raise board.refuse("characters", "must be names with a description each")
    return tuple(Character(name, description) for name, description in table.items())
