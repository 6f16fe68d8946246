"""The files of a model in a folder of many, found by what they are. Reads headers; no PyTorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from wan2.errors import InputError
from wan2.text.tokenizer import TOKENIZER_FILE
from wan2.weights.inspected import EXPERTS, Inspected, inspect_file
from wan2.weights.kinds.without import PICKLES

ENDINGS = (".safetensors", ".gguf", *PICKLES)
INDEX, SHARD = ".safetensors.index.json", "-of-"
MOST = 10_000
"""Files of weights that are looked at in one folder."""
Rank = Callable[[Inspected], int]


def as_good(_: Inspected) -> int:
    """No file is better than another."""
    return 0


def find_models(folder: Path, wanted: Sequence[str], rank: Rank = as_good) -> dict[str, Path]:
    """Setting -> the file or folder for it, for every setting in `wanted` that something in the folder is for.

    rank: which transformers are better; 0 is best, and below 0 will not do.

    Raises:
        InputError: no such folder, too many files in it, or several that are as good for one setting.
    """
    if not folder.is_dir():
        raise InputError("no such folder", field="models_dir", value=folder)
    found = [inspect_file(path) for path in _candidates(folder)]
    runs = [one for one in found if one.settings]
    return {name: path for name in wanted if (path := _chosen(folder, name, runs, rank)) is not None}


def _candidates(folder: Path) -> Iterator[Path]:
    """Every file with the name of weights, the index of a checkpoint in place of its shards, and every tokenizer."""
    seen: set[Path] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if _is_new(Path(place, name), seen))
        indexed = any(name.endswith(INDEX) for name in files)
        for name in sorted(files):
            sharded = indexed and SHARD in name
            weights = name.endswith((*ENDINGS, INDEX)) and not sharded
            if (weights or name == TOKENIZER_FILE) and _is_new(Path(place, name), seen):
                yield Path(place) if name == TOKENIZER_FILE else Path(place, name)
        if len(seen) > MOST:
            rule = f"holds more than {MOST} files and folders; name one nearer to the models"
            raise InputError(rule, field="models_dir", value=folder)


def _is_new(path: Path, seen: set[Path]) -> bool:
    """Whether nothing was there before, under this or another name; it is noted."""
    place = path.resolve()
    new = place not in seen
    seen.add(place)
    return new


def _chosen(folder: Path, name: str, runs: Sequence[Inspected], rank: Rank) -> Path | None:
    """The best of what a setting can be given; None where there is nothing."""
    fit = [one for one in runs if name in one.settings]
    if name in EXPERTS[""]:
        ranked: Mapping[Path, int] = {one.path: rank(one) for one in fit}
        best = min((value for value in ranked.values() if value >= 0), default=None)
        fit = [one for one in fit if ranked[one.path] == best]
        fit = [one for one in fit if one.expert] or fit
    if len(fit) > 1:
        which = ", ".join(str(one.path.relative_to(folder)) for one in fit)
        raise InputError(
            f"has {len(fit)} for `{name}`: {which}; name one by `{name}`", field="models_dir", value=folder
        )
    return fit[0].path if fit else None
