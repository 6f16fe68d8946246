"""Films made into clips with storyboards: the steps, one after the other. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from holocine_ext.evaluate.asked import VIDEO_SUFFIXES, Asked
from holocine_ext.evaluate.detect import Detector
from holocine_ext.story.boards import from_file
from holocine_ext.story.fields import SUFFIXES
from holocine_ext.story.scene import Storyboard
from holocine_ext.teach.captions import Captioner
from holocine_ext.teach.clips import captioned, write_clip
from holocine_ext.teach.cutting import Clip, Cutting, FilmShot, whole_clip
from holocine_ext.teach.films import Survey, survey
from holocine_ext.teach.gather import gather
from holocine_ext.teach.report import LeftOut
from holocine_ext.teach.screens import Look, plainly_unfit, runs_of, seen_unfit
from wan2.errors import InputError, RunError

NO_CLIP = "no clip of a wanted length has room for it"
Begin = Callable[[str, int], None]
"""Told of a stage and how many things it does."""
Advance = Callable[[], None]
"""Told that one of them is done."""


@dataclass(frozen=True)
class Tools:
    """What looks at films: the detector of cuts, what leaves shots out, and who writes captions, if anyone does."""

    detect: Detector
    looks: tuple[Look, ...] = ()
    captioner: Captioner | None = None


def films_of(paths: Sequence[Path]) -> dict[Path, Storyboard | None]:
    """The films that paths stand for, files or folders of them, each with the storyboard beside it, if there is one.

    Raises:
        InputError: no such path, no film, two films of one name, or a storyboard that breaks a rule.
    """
    found: dict[Path, Storyboard | None] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        films = [one for one in inside if one.suffix.lower() in VIDEO_SUFFIXES]
        if not films:
            raise InputError(f"{path}: no film; films end in {', '.join(VIDEO_SUFFIXES)}")
        found |= {film: board_beside(film) for film in films}
    stems = [film.stem for film in found]
    if twice := next((film for film in found if stems.count(film.stem) > 1), None):
        raise InputError(f"{twice}: two films are called {twice.stem}; clips are named for their film, so rename one")
    return found


def board_beside(film: Path) -> Storyboard | None:
    """The storyboard beside a film, if there is one. Raises `InputError` when there are two, or it breaks a rule."""
    boards = [path for suffix in SUFFIXES if (path := film.with_suffix(suffix)).is_file()]
    if len(boards) > 1:
        raise InputError(f"{film}: two storyboards beside it, {boards[0].name} and {boards[1].name}; keep one")
    return from_file(boards[0]) if boards else None


def find_clips(
    films: Mapping[Path, Storyboard | None], cutting: Cutting, tools: Tools, advance: Advance
) -> tuple[list[Clip], list[LeftOut]]:
    """The clips that films give, not captioned yet, and every shot that is left out.

    Raises:
        InputError: a film cannot be read, or does not fit its storyboard.
    """
    clips: list[Clip] = []
    left_out: list[LeftOut] = []
    runs: list[list[FilmShot]] = []
    for path, board in films.items():
        seen = survey(path)
        if board is not None:
            clips.append(_as_told(seen, board, cutting))
        else:
            shots = _shots_of(seen, tools.detect(seen.clip))
            unfit = _unfit(shots, seen, cutting, tools.looks)
            left_out += [LeftOut(path, shot.first, shot.stop, why) for shot, why in unfit.items()]
            runs += runs_of(shots, unfit)
        advance()
    made, unused = gather(runs, cutting)
    left_out += [LeftOut(shot.film.path, shot.first, shot.stop, NO_CLIP) for shot in unused]
    return clips + made, left_out


def _shots_of(seen: Survey, cuts: Sequence[int]) -> list[FilmShot]:
    return [FilmShot(seen.film, a, b) for a, b in pairwise((0, *cuts, seen.film.num_frames))]


def _unfit(shots: Sequence[FilmShot], seen: Survey, cutting: Cutting, looks: Sequence[Look]) -> dict[FilmShot, str]:
    plain = {shot: why for shot in shots if (why := plainly_unfit(shot, seen, cutting))}
    return plain | dict(seen_unfit(seen.film.path, [shot for shot in shots if shot not in plain], looks))


def _as_told(seen: Survey, board: Storyboard, cutting: Cutting) -> Clip:
    """The clip of a film with a storyboard: its shots as that says, all of them."""
    film = seen.film
    asked = Asked("", film.path, board.global_caption or "", board.shot_captions, board.shot_cut_frames, board, "")
    cuts = asked.cuts_in(film.num_frames, film.fps)
    edges = (0, *cuts, film.num_frames)
    if len(cuts) != len(board.shot_captions) - 1 or any(a >= b for a, b in pairwise(edges)):
        rule = f"cuts {list(cuts)} do not ascend inside the {film.num_frames} frames of {film.path.name}"
        raise InputError(f"{board.source}: {rule}")
    if board.num_frames is not None and board.num_frames != film.num_frames:
        rule = f"num_frames {board.num_frames}: {film.path.name} has {film.num_frames} frames"
        raise InputError(f"{board.source}: {rule}")
    shots = [replace(shot, caption=text) for shot, text in zip(_shots_of(seen, cuts), board.shot_captions, strict=True)]
    return whole_clip(film.path.stem, shots, asked.global_caption, cutting.fps)


def write_captions(clips: Sequence[Clip], captioner: Captioner, advance: Advance) -> tuple[list[Clip], list[str]]:
    """The clips with captions where they were missing, and a line for each that the endpoint failed."""
    done, failed = [], []
    for clip in clips:
        made = clip
        if not clip.is_captioned:
            try:
                made = captioned(clip, captioner)
            except RunError as error:
                failed.append(f"{clip.name}: left to write; {error}")
            advance()
        done.append(made)
    return done, failed


def write_clips(clips: Sequence[Clip], cutting: Cutting, folder: Path, advance: Advance) -> list[Path]:
    """Write the files of every clip; their paths."""
    written = []
    for clip in clips:
        written += write_clip(clip, cutting, folder)
        advance()
    return written
