"""`--models_dir`: the model files that were not named, from one folder, and what was taken said. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wan2.cli.console import Console
from wan2.weights.folder import Rank, as_good, find_models

# In the order in which they are said.
SETTINGS = ("dit_high_noise", "dit_low_noise", "t5", "tokenizer", "vae")
DECODING = ("vae",)


def with_models(given: Mapping[str, Any], console: Console, rank: Rank = as_good) -> dict[str, Any]:
    """The values given, with a file of the folder for each model file that was not named.

    Raises:
        InputError: no such folder, or several files in it that are as good for one setting.
    """
    folder = given["models_dir"]
    values = {**given, "models_dir": None}
    if folder is None:
        return values
    wanted = [name for name in (SETTINGS if given["latent_path"] is None else DECODING) if given[name] is None]
    found = find_models(folder, wanted, rank)
    for name in wanted:
        console.chose(
            f"`{name}` {found[name]}" if name in found else f"`models_dir` {folder}: has nothing for `{name}`"
        )
    return values | found
