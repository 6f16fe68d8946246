"""How the command line spells the settings of a request. The only place where a setting becomes a flag."""

from __future__ import annotations

import re
from collections.abc import Collection

from wan2.errors import InputError, RunError

# Settings that have another flag, or none.
FLAGS = {
    "tile_height": "--vae_tiling",
    "tile_width": "--vae_tiling",
    "height": "--video_size",
    "width": "--video_size",
    "num_frames": "--video_length",
    "round_timestep": "the model's round_timestep",
    "vae_dtype": "the model's vae_dtype",
}
NAMED = re.compile(r"`([a-z][a-z0-9_]*)`")


def flag_of(name: str) -> str:
    """The command line's name for a setting; for one without a flag, what it is."""
    return FLAGS.get(name, f"--{name}")


def spelled(text: str, known: Collection[str]) -> str:
    """A text with the settings that stand in backticks spelled as flags; `known` are the names that are settings."""

    def spell(match: re.Match[str]) -> str:
        return flag_of(match[1]) if match[1] in known or match[1] in FLAGS else match[0]

    return NAMED.sub(spell, text)


def line_of(error: BaseException, known: Collection[str]) -> str:
    """An error of the library as the line that a person reads."""
    if isinstance(error, InputError):
        rule = spelled(error.rule, known)
        if not error.field:
            return rule
        return f"{flag_of(error.field)} {error.value}".rstrip() + f": {rule}"
    if isinstance(error, RunError):
        return spelled(str(error), known)
    return str(error)
