"""A video that begins from an earlier run: all of it again, or some shots anew and the others held. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from holocine_ext.layered import laid_over
from holocine_ext.request import SceneRequest, beginning, keeping
from holocine_ext.shots.layout import ShotLayout
from holocine_ext.story.boards import from_arguments
from holocine_ext.story.storyboard import Storyboard
from holocine_ext.takes.cast import CastShot, cast_again
from holocine_ext.takes.kept import HeldShot, held_again
from holocine_ext.takes.take import Take
from wan2.errors import InputError
from wan2.plan.begun import Begun, begin, check_strength
from wan2.plan.pieces import Origin
from wan2.request.fields import Number
from wan2.request.presets import Preset

SCENE = ("storyboard", "prompt", "global_caption", "shot_captions", "shot_cut_frames")
STRENGTH = Number(0.01, 1)


def values_beside(take: Take, given: Mapping[str, Any], preset: Preset) -> dict[str, Any]:
    """The settings of a take, with those given in their place."""
    return laid_over(take.values, given, preset)


def board_beside(take: Take, given: Mapping[str, Any]) -> Storyboard:
    """The scene of a take, or the one that is given in its place.

    Captions given alone are those of all shots, or of the shots of `reshoot`, in its order.

    Raises:
        InputError: a scene that breaks a rule, or a number of captions that is neither.
    """
    scene = take.scene.scene
    board = replace(scene.storyboard, shot_cut_frames=scene.cuts, num_frames=scene.num_frames, fps=scene.fps)
    if all(given[name] is None for name in SCENE):
        return board
    if given["storyboard"] is not None:
        return from_arguments(**{name: given[name] for name in SCENE})
    if given["prompt"] is not None:
        made = from_arguments(**{name: given[name] for name in SCENE if name != "shot_cut_frames"})
    else:
        made = _recaptioned(board, given)
    cuts = board.shot_cut_frames if len(made.shot_captions) == len(board.shot_captions) else None
    asked = given["shot_cut_frames"]
    return replace(
        made,
        shot_cut_frames=cuts if asked is None else tuple(asked),
        characters=board.characters,
        num_frames=board.num_frames,
        fps=board.fps,
    )


def _recaptioned(board: Storyboard, given: Mapping[str, Any]) -> Storyboard:
    captions = list(board.shot_captions)
    new, shots = given["shot_captions"], given["reshoot"]
    if new is not None and shots is not None and len(new) == len(shots):
        for number, caption in zip(shots, new, strict=True):
            if 1 <= number <= len(captions):
                captions[number - 1] = caption
    elif new is not None:
        if shots is not None and len(new) != len(captions):
            rule = (
                f"{len(new)} for {len(shots)} of `reshoot`; give one for each, or one for each of {len(captions)} shots"
            )
            raise InputError(rule, field="shot_captions")
        captions = list(new)
    shared = given["global_caption"] or board.global_caption
    return from_arguments(global_caption=shared, shot_captions=captions).with_cast(board.cast)


def cast_beside(take: Take, board: Storyboard) -> tuple[CastShot, ...] | None:
    """The cast of a take, where the scene has that; None where it has one of its own, or none.

    Raises:
        InputError: the latents of the take do not hold what its record says.
    """
    told = take.scene.scene.storyboard.cast
    return cast_again(take) if told and board.cast == told else None


def repeated(asked: SceneRequest, take: Take, cast: Sequence[CastShot]) -> SceneRequest:
    """The video of a take with its cast, and with the shots held that it held itself.

    Raises:
        InputError: it held some, and this video has other cuts.
    """
    held = held_again(take)
    if take.scene.begun is not None and asked.layout is not None:
        _check_cuts(asked.layout, take, "take")
        pieces = [piece for piece in take.origin.pieces if piece.place < take.shape.latent_frames]
        return beginning(asked, Begun(Origin(tuple(pieces)), take.scene.begun))
    if not held or asked.layout is None:
        return asked
    _check_cuts(asked.layout, take, "take")
    return keeping(asked, held, cast)


def reshot(
    asked: SceneRequest, take: Take, shots: Sequence[int], strength: float | None, cast: Sequence[CastShot]
) -> SceneRequest:
    """The video of a take with some of its shots made anew, and the others held.

    Args:
        asked: the video.
        take: what its other shots are.
        shots: the numbers of those that are made, from 1.
        strength: the noise level from which these are made, of what they are in the take; None is from noise alone.
        cast: of the video, held as before.

    Raises:
        InputError: a number that no shot has, or one that is given twice; cuts that are not those of the take; or
            nothing is left to hold.
    """
    layout = asked.layout
    if layout is None:
        raise ValueError("latents are decoded without shots")
    for number in shots:
        if not 1 <= number <= layout.num_shots:
            raise InputError(f"the take has shots 1 to {layout.num_shots}", field="reshoot", value=number)
        if list(shots).count(number) > 1:
            raise InputError("is given twice", field="reshoot", value=number)
    _check_cuts(layout, take, "reshoot")
    until = 1.0 if strength is None else strength
    held = [HeldShot(shot, take, shot, until if shot + 1 in shots else 0.0) for shot in range(layout.num_shots)]
    held = [one for one in held if one.until < 1]
    if not held:
        raise InputError("names every shot, so nothing is held; leave it out", field="reshoot")
    return keeping(asked, held, cast)


def refined(asked: SceneRequest, take: Take, strength: float) -> SceneRequest:
    """The video of a take made anew in part, at any size: where that is another, its frames are resized.

    Raises:
        InputError: cuts that are not those of the take.
    """
    if asked.layout is None:
        raise ValueError("latents are decoded without shots")
    check_strength(strength)
    _check_cuts(asked.layout, take, "strength")
    begun = begin(take.latents, strength, replace(asked.base, num_frames=asked.layout.num_frames))
    if (take.shape.height, take.shape.width) == (asked.base.height, asked.base.width):
        whole = replace(begun.origin.pieces[0], source=take.whole)
        begun = replace(begun, origin=Origin((whole,)))
    return beginning(asked, begun)


def _check_cuts(layout: ShotLayout, take: Take, field: str) -> None:
    if (layout.num_frames, layout.cuts) != (take.layout.num_frames, take.layout.cuts):
        words = f"{take.layout.num_frames} frames and {_words(take.layout.cuts)}"
        raise InputError(f"shots are held, so length and cuts are those of the take, {words}", field=field)


def _words(cuts: Sequence[int]) -> str:
    return f"cuts at {' '.join(map(str, cuts))}" if cuts else "no cuts"
