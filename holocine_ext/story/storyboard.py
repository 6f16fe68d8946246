"""A scene as a record: captions, prompt, lengths and cuts, and what else was said of the film. Opens no file.

`document.py` reads the fields of a file, `boards.py` finds out what a file is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from holocine_ext.story.cast import Member, captions_with
from holocine_ext.story.characters import Character
from holocine_ext.story.direction import Direction
from holocine_ext.story.lengths import ShotLength
from holocine_ext.story.prompt import build_prompt, check_caption, parse_prompt
from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.text.tokenizer import check_length


@dataclass(frozen=True)
class Storyboard:
    """What a person said. Captions are as the model reads them; None stands for what was left open.

    `global_caption` is None for a prompt without tags: one shot, an ordinary video. `lengths` has an entry per shot, of
    which the last may be None (the rest of the video); lengths and `shot_cut_frames` exclude each other. `size` is
    (height, width) in pixels. `cast` is seen by every shot and not shown; its captions end the prompt. `directions` has
    an entry per shot, or none; a shot from a take may have no caption yet, and then there is no prompt yet. `settings`
    are those that the film is made with, by their flat names. `source` is the file, or "" for the command line; `notes`
    are warnings for the reader.
    """

    prompt: str
    global_caption: str | None
    shot_captions: tuple[str, ...]
    shot_cut_frames: tuple[int, ...] | None = None
    lengths: tuple[ShotLength | None, ...] | None = None
    characters: tuple[Character, ...] = ()
    cast: tuple[Member, ...] = ()
    num_frames: int | None = None
    fps: float | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    directions: tuple[Direction, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, global_caption: str, shot_captions: Sequence[str], cuts: Sequence[int] | None = None) -> Storyboard:
        """The scene of captions; `cuts` are the first frames of the shots after the first, even ones without.

        Raises:
            InputError: a caption that breaks a rule.
        """
        return from_captions(global_caption, shot_captions, cuts)

    def with_shots(self, captions: Sequence[str], lengths: Sequence[ShotLength | None] | None) -> Storyboard:
        """The same scene with every caption and length. Raises `InputError` for captions that are too long together."""
        if self.global_caption is None:
            raise ValueError("a raw prompt has its captions")
        prompt = build_prompt(self.global_caption, captions_with(captions, self.cast))
        check_length(prompt, self.caption_name)
        known = None if lengths is None else tuple(lengths)
        return replace(self, prompt=prompt, shot_captions=tuple(captions), lengths=known)

    def with_cast(self, cast: Sequence[Member]) -> Storyboard:
        """The same scene with another cast. Raises `InputError` for captions that are too long together."""
        return replace(self, cast=tuple(cast)).with_shots(self.shot_captions, self.lengths) if cast else self

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seed of every shot, None for that of the scene; empty where nothing is said of shots."""
        return tuple(direction.seed for direction in self.directions)

    @property
    def caption_name(self) -> str:
        """How messages call the captions."""
        if self.source:
            return f"{self.source}: captions"
        return "`prompt`" if self.global_caption is None else "`shot_captions`"


def from_captions(
    global_caption: str | None, shot_captions: Sequence[str] | None, cuts: Sequence[int] | None = None
) -> Storyboard:
    """The scene of captions, as the command line gives them.

    Raises:
        InputError: captions without a global caption or the reverse, or one that breaks a rule.
    """
    if global_caption is None:
        raise InputError("needs `global_caption`, which says what all shots share", field="shot_captions")
    if not shot_captions:
        raise InputError("needs `shot_captions`, one for every shot", field="global_caption")
    check_own_caption(global_caption, "`global_caption`")
    for number, caption in enumerate(shot_captions, 1):
        check_own_caption(caption, f"`shot_captions`, shot {number}")
    return structured(global_caption, tuple(shot_captions), shot_cut_frames=None if cuts is None else tuple(cuts))


def check_own_caption(caption: str, name: str) -> None:
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


def structured(global_caption: str, captions: tuple[str, ...], **settings: Any) -> Storyboard:  # noqa: ANN401
    """The storyboard of checked captions, which are not too long together."""
    told = captions_with(captions, settings.get("cast", ()))
    prompt = build_prompt(global_caption, told) if all(captions) else ""
    check_length(prompt, f"{settings['source']}: captions" if settings.get("source") else "`shot_captions`")
    return Storyboard(prompt, global_caption, captions, **settings)
