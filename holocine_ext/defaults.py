"""A person's own defaults, `holocine.toml`: where models lie, how much memory there is, where films go. Loads nothing.

The file is looked for beside the storyboard or the list, in the working folder, and in the user's folder of settings;
of several that say the same, the nearest holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from holocine_ext.story.fields import Fields, read_document
from holocine_ext.story.settings import OF_FILM, OF_MODEL, setting_value
from holocine_ext.story.words import describe
from wan2.plan.resume import BESIDE
from wan2.request.cards import Cards
from wan2.request.compute import Compute
from wan2.request.fields import settings_of
from wan2.request.flat import SETTINGS
from wan2.request.output import Output

NAME = "holocine.toml"
PROGRAM = "holocine"
MODELS_DIR = "models_dir"
TILES, TILING = ("tile_height", "tile_width"), "vae_tiling"
OF_MACHINE = tuple(name for record in (Compute, Cards, Output) for name, _ in settings_of(record))
# What is said of one run only.
NEVER = ("overwrite", *TILES)
KNOWN = (MODELS_DIR, *(name for name in OF_MACHINE if name not in NEVER), TILING)
"""The fields of the file."""
INSTEAD = (
    dict.fromkeys((*OF_FILM, *OF_MODEL, "size", "fps", "num_frames", "seed"), "it belongs in settings of a storyboard")
    | dict.fromkeys(("budget", "vram", "memory"), "did you mean vram_budget?")
    | dict.fromkeys(("models", "models_folder", "checkpoints"), "did you mean models_dir?")
    | dict.fromkeys(("output", "outputs", "folder", "out"), "did you mean save_path?")
    | {"overwrite": "it is said for one run only: `overwrite`"}
)


def with_defaults(given: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """The values given, and those of the files in the place of what was not given; `say` gets a line for each file.

    A run that goes on, or begins from a take, keeps what decides its film.

    Raises:
        InputError: a file that cannot be read, or a field that is not known or breaks its rule; with the file's name.
    """
    values = dict(given)
    for path in _files(given):
        taken = {
            name: value
            for name, value in read_defaults(path).items()
            if values.get(name) is None and _means_something(name, given)
        }
        values |= taken
        if taken:
            say(f"{path}: {', '.join(f'{name} {_shown(value)}' for name, value in taken.items())}")
    return values


def read_defaults(path: Path) -> dict[str, Any]:
    """What a file says, by the flat names of settings; paths are relative to its folder.

    Raises:
        InputError: as `with_defaults`.
    """
    fields = Fields(read_document(path, NAME), str(path), KNOWN, INSTEAD)
    found = {name: setting_value(fields, name, path.parent) for name in OF_MACHINE if name in fields.table}
    if (folder := fields.text(MODELS_DIR)) is not None:
        found[MODELS_DIR] = path.parent / Path(folder).expanduser()
    tiles = fields.whole_list(TILING)
    if tiles is not None:
        if len(tiles) != len(TILES):
            raise fields.refuse(TILING, "must be [height, width]")
        found |= dict(zip(TILES, tiles, strict=True))
    return found


def _files(given: Mapping[str, Any]) -> Iterator[Path]:
    """The files that are there, the nearest first."""
    from platformdirs import user_config_path

    beside = [given[name].parent for name in ("storyboard", "from_file", "take") if given[name] is not None]
    seen = set()
    for folder in (*beside, Path(), user_config_path(PROGRAM, appauthor=False)):
        path = folder / NAME
        if path.is_file() and path.resolve() not in seen:
            seen.add(path.resolve())
            yield path


def _means_something(name: str, given: Mapping[str, Any]) -> bool:
    """Whether a default may stand where nothing was given: not where only latents are decoded, or a film is settled."""
    if name == MODELS_DIR:
        return given["resume"] in (None, BESIDE)
    if given["latent_path"] is not None:
        return SETTINGS[name].decoding
    settled = given["take"] is not None or given["resume"] not in (None, BESIDE)
    return not (settled and SETTINGS[name].decides)


def _shown(value: object) -> str:
    return str(value) if isinstance(value, Path) else describe(value).strip("'")
