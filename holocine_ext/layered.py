"""Which of several sayings of a setting holds: the flag, else the storyboard or the take, else the model's preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holocine_ext.presets import DEFAULT_MODEL, DEFAULT_VARIANT, MODELS, ScenePreset
from holocine_ext.shots.layout import SHOT_MASK_TYPES
from holocine_ext.story.settings import OF_FILM
from holocine_ext.story.storyboard import Storyboard
from wan2.errors import InputError
from wan2.request.presets import Preset

# What is given for both experts, or for all files, stands for what another said of each of them.
STANDS_FOR = {
    "guidance_scale": ("guidance_scale_high_noise",),
    "lora_weight": ("lora_multiplier",),
    "lora_weight_high_noise": ("lora_multiplier_high_noise",),
}


def laid_over(under: Mapping[str, Any], over: Mapping[str, Any], preset: Preset) -> dict[str, Any]:
    """Settings with others in their place. None means not given.

    A recipe that is given stands for all it fills in, and a value for both experts for that of each.
    """
    known = {name: value for name, value in over.items() if value is not None}
    values = dict(under)
    replaced = [other for name in known for other in STANDS_FOR.get(name, ())]
    for name in (*replaced, *preset.recipes.get(known.get("preset", ""), {})):
        values.pop(name, None)
    return values | known


def film_settings(board: Storyboard) -> dict[str, Any]:
    """The settings of a storyboard that a request takes, and its recipe."""
    return {name: value for name, value in board.settings.items() if name in (*OF_FILM, "preset")}


def preset_of(
    board: Storyboard, model: str | None, variant: str | None, usual: tuple[str, str] = (DEFAULT_MODEL, DEFAULT_VARIANT)
) -> ScenePreset:
    """The model that makes a film and its variant: those given, else those of the storyboard, else the usual ones.

    Raises:
        InputError: the storyboard names one that there is not.
    """
    name = model or _named(board, "model", tuple(MODELS)) or usual[0]
    family = MODELS[name]
    return family[variant or _named(board, "variant", tuple(family)) or usual[1]]


def mask_of(board: Storyboard) -> str | None:
    """What a storyboard says of the 17th input channel. Raises `InputError` for a word that means nothing."""
    return _named(board, "shot_mask_type", SHOT_MASK_TYPES)


def _named(board: Storyboard, field: str, choices: tuple[str, ...]) -> str | None:
    found: str | None = board.settings.get(field)
    if found is not None and found not in choices:
        raise InputError(f"{board.source}: settings: {field} {found!r}: must be one of {', '.join(choices)}")
    return found


def told_by(board: Storyboard, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that hold because the storyboard says so: nothing that is given stands in their place."""
    known = {name for name, value in given.items() if value is not None}
    replaced = {other for name in known for other in STANDS_FOR.get(name, ())}
    return {name: value for name, value in film_settings(board).items() if name not in known | replaced}
