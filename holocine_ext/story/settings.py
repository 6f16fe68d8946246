"""The table `settings` of a storyboard: every setting that is about the film, not about the machine. Opens no file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from holocine_ext.story.fields import Fields
from holocine_ext.story.synonyms import OF_SETTINGS
from wan2.errors import InputError
from wan2.request.fields import settings_of
from wan2.request.flat import OF_EXPERT, SETTINGS, typed
from wan2.request.model import SUFFIX
from wan2.request.sampling import Sampling

# Words that say which model makes the film, and with which recipe; their choices are known elsewhere.
OF_MODEL = ("model", "variant", "shot_mask_type", "preset")
OF_FILM = (
    "negative_prompt",
    *(name for name, _ in settings_of(Sampling)),
    *(name + suffix for suffix in SUFFIX.values() for name in OF_EXPERT),
    "dual_dit_boundary",
    "lora_mode",
    "lora_partial",
    "soundtrack",
)
"""The settings of a request that a storyboard may hold, by their flat names."""
# What is one for each LoRA.
OF_LORAS = ("lora_weight", "lora_multiplier")


def of_film(table: object, place: str, folder: Path) -> dict[str, Any]:
    """The settings of a film by their flat names; files are relative to the folder.

    Raises:
        InputError: a setting that is none of a film, of another type, or outside its range.
    """
    if table is None:
        return {}
    fields = Fields(table, place, (*OF_MODEL, *OF_FILM), OF_SETTINGS)
    words = {name: word for name in OF_MODEL if (word := fields.text(name)) is not None}
    given = [name for name in OF_FILM if fields.table.get(name) is not None]
    return words | {name: setting_value(fields, name, folder) for name in given}


def setting_value(fields: Fields, name: str, folder: Path) -> Any:  # noqa: ANN401
    """The value of a field that is a setting, by its flat name; files are relative to the folder.

    Raises:
        InputError: it is of another type, or breaks its rule.
    """
    value, several = fields.table[name], name.startswith(OF_LORAS)
    try:
        found = typed(name, [value] if several and not isinstance(value, list) else value)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise fields.refuse(name, f"cannot be used: {' '.join(str(error).split())}") from error
    if several:
        return tuple(_placed(item, folder) for item in found)
    if (rule := SETTINGS[name].rule) is not None:
        try:
            rule.check(name, found)
        except InputError as error:
            raise fields.refuse(name, error.rule) from error
    return _placed(found, folder)


def _placed(value: Any, folder: Path) -> Any:  # noqa: ANN401
    return folder / value.expanduser() if isinstance(value, Path) else value


def paths_in(settings: Mapping[str, Any]) -> list[Path]:
    """The files that settings name."""
    values = [item for value in settings.values() for item in (value if isinstance(value, tuple) else (value,))]
    return [value for value in values if isinstance(value, Path)]
