"""The cast of a scene: pictures, or shots of takes, that every shot sees and the film does not show. Opens no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holocine_ext.story.direction import shot_of_take
from holocine_ext.story.fields import Fields
from holocine_ext.story.lengths import FROM
from wan2.errors import InputError

IMAGE = "image"
CAST_FIELDS = ("caption", IMAGE, FROM)
MOST_CAST = 12


@dataclass(frozen=True)
class Member:
    """One of the cast: a caption as the model reads it, and a picture, or the file of a take and one of its shots.

    number: of the shot, from 1. A member without a file is that of the take that the whole scene begins from.
    """

    caption: str
    image: Path | None = None
    take: Path | None = None
    number: int = 0


def member_of(fields: Fields, caption: str, folder: Path) -> Member:
    """A member of a document, with a caption that was checked; files are relative to the folder.

    Raises:
        InputError: no picture and no take, or both.
    """
    image, name = fields.text(IMAGE), fields.text(FROM)
    if (image is None) == (name is None):
        raise InputError(f"{fields.place}: needs one of {IMAGE}, a picture, and {FROM}, a shot of a take")
    if image is not None:
        return Member(caption, image=folder / image)
    file, number = shot_of_take(fields)
    return Member(caption, take=folder / file, number=number)


def told_cast(notes: object, place: str) -> tuple[Member, ...]:
    """The cast that a record tells of, whose latents are beside it.

    Raises:
        InputError: no list of captions.
    """
    found = notes if isinstance(notes, list) else None
    if found is None or not all(isinstance(note, dict) and isinstance(note.get("caption"), str) for note in found):
        raise InputError(f"{place}: cast: must be a list of members, each with a caption")
    return tuple(Member(note["caption"]) for note in found)


def captions_with(captions: Sequence[str], cast: Sequence[Member]) -> tuple[str, ...]:
    """The captions of a prompt: those of the film, then those of the cast."""
    return (*captions, *(member.caption for member in cast))


def as_tables(document: Any, place: str) -> list[Fields]:  # noqa: ANN401
    """The members of a document, which may leave them out.

    Raises:
        InputError: no list, too long a one, or a field that is not known.
    """
    if document is None:
        return []
    if not isinstance(document, list) or not 1 <= len(document) <= MOST_CAST:
        raise InputError(f"{place}: cast: must be a list of 1 to {MOST_CAST} members, for example [[cast]]")
    return [Fields(member, f"{place}: cast {number}", CAST_FIELDS) for number, member in enumerate(document, 1)]
