"""From a board and the settings of the page to a request, and what of it was refused, where. Loads nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from holocine_ext.presets import DEFAULT_VARIANT, MODELS, ScenePreset
from holocine_ext.request import SceneRequest, Shown, scene_request
from holocine_ext.story.document import from_document
from holocine_ext.story.settings import paths_in
from holocine_ext.studio.film import TAKES
from holocine_ext.studio.models import Places
from wan2.cli.flags import line_of
from wan2.errors import InputError
from wan2.request.fields import OneOf
from wan2.request.flat import SETTINGS, setting_types, typed

FIRST_MODEL = "nano"
# Settings that the page decides itself, or that lead out of the folder of the film.
NOT_ASKED = frozenset({"prompt", "save_path", "resume", "overwrite", "latent_path", "no_metadata", "output_type"})
NOT_ASKED |= {"device", "preview", "codec"}
ASKED = frozenset(name for name in SETTINGS if name not in NOT_ASKED and "Path" not in str(setting_types()[name])) | {
    "preset",
    "guidance_scale",
}
"""The settings that a page may ask for, by their flat names."""
_OF_FILM = re.compile(rf"{TAKES}/[^\W_][\w ()+,.-]*\.mp4#\d+")
_PLACE = re.compile(r"(?:shot (\d+): )?(\w+)")


@dataclass(frozen=True)
class Asked:
    """What a page asks for: a board, by the folder and the name of its file, and settings by their flat names."""

    folder: Path
    name: str
    document: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def preset(self) -> ScenePreset:
        """The model and its defaults. Raises `InputError` for one that is unknown."""
        model = self.settings.get("model") or FIRST_MODEL
        OneOf(tuple(MODELS)).check("model", model)
        variant = self.settings.get("variant") or DEFAULT_VARIANT
        OneOf(tuple(MODELS[model])).check("variant", variant)
        return MODELS[model][variant]

    @property
    def source(self) -> str:
        """What messages about the board begin with."""
        return str(self.folder / self.name)

    def request(self, **decided: Any) -> SceneRequest:  # noqa: ANN401
        """The scene to make. decided: what the page decides, such as `save_path`.

        Raises:
            InputError: a board or a setting that breaks its rule.
        """
        values = {name: _typed(name, value) for name, value in self.settings.items() if name in ASKED}
        if self.preset.published is not None:
            values |= Places(self.folder).values(self.preset.variant)
        _check_takes(self.document)
        storyboard = from_document(self.document, self.source)
        if files := paths_in(storyboard.settings):
            raise InputError(f"settings: {files[0].name}: the page takes no files from a board; use the command")
        return scene_request(storyboard, self.preset, values | decided, None, Shown())


def _check_takes(document: Mapping[str, Any]) -> None:
    """Refuse shots from takes outside of the folder of the film."""
    shots = document.get("shots")
    for number, shot in enumerate(shots if isinstance(shots, list) else (), 1):
        taken = shot.get("from") if isinstance(shot, dict) else None
        if taken is not None and not (isinstance(taken, str) and _OF_FILM.fullmatch(taken)):
            raise InputError(f"shot {number}: from: must be a take of this film, such as {TAKES}/scene-001.mp4#2")


def _typed(name: str, value: object) -> Any:  # noqa: ANN401
    """A JSON value as the setting has it; a recipe is a word."""
    if value is None or name == "preset":
        return value
    try:
        return typed(name, value)
    except msgspec.ValidationError as error:
        raise InputError(f"cannot be used: {error}", field=name) from error


def refused(error: InputError, source: str) -> dict[str, Any]:
    """An error as the page shows it: in the words of the command, with the field and the shot that it is about.

    source: what messages about the board begin with, and the page leaves out.
    """
    text = line_of(error, SETTINGS).removeprefix(f"{source}: ")
    place = None if error.field else _PLACE.match(text)
    shot = int(place[1]) if place and place[1] else None
    return {"text": text, "field": error.field or (place[2] if place else ""), "shot": shot}
