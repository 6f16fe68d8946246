"""One scene made for several seeds: a video each, and a sheet that shows them side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from wan2.cli.asked import DEFAULT_OUTPUT, suffix_asked
from wan2.cli.console import Console
from wan2.cli.lists import Item
from wan2.errors import InputError, RunError
from wan2.files import whole_file
from wan2.plan.marks import is_our_png, save_png
from wan2.plan.resume import BESIDE
from wan2.plan.taken import TakenError

COLUMNS = 6
SEED_BYTES = 4


def asked_by_seeds(given: Mapping[str, Any], name: str = "") -> list[Item]:
    """The videos that `--seeds` or `--num_seeds` ask for, each with a name of its own; none without them.

    `out.mp4` becomes `out-seed7.mp4` and so on; in a folder, names begin with `name`, if there is one, and the time.

    Raises:
        InputError: both flags, the same seed twice, or flags that cannot hold for several videos.
    """
    seeds, count = given["seeds"], given["num_seeds"]
    if seeds is None and count is None:
        return []
    if seeds is not None and count is not None:
        raise InputError("`seeds` and `num_seeds`: two ways of giving seeds; give one")
    if seeds is not None and given["seed"] is not None:
        raise InputError("`seeds` and `seed`: two ways of giving seeds; give one")
    if given["resume"] not in (None, BESIDE):
        raise InputError("one state for many videos; give no path", field="resume", value=given["resume"])
    if given["resume"] is not None and seeds is None and given["seed"] is None:
        raise InputError("with `resume` the seeds must be those of before; give `seed`, too", field="num_seeds")
    chosen = seeds if seeds is not None else _from(given["seed"], count)
    if twice := [seed for seed in chosen if chosen.count(seed) > 1]:
        raise InputError("is given twice", field="seeds", value=twice[0])
    output = _stem(given, name)
    return [
        Item(
            place=f"seed {seed}",
            title=f"seed {seed}",
            kind="seed",
            number=seed,
            values={**given, "seed": seed, "save_path": output.with_name(f"{output.stem}-seed{seed}{output.suffix}")},
        )
        for seed in chosen
    ]


def _from(seed: int | None, count: int) -> list[int]:
    first = int.from_bytes(os.urandom(SEED_BYTES)) if seed is None else seed
    return list(range(first, first + count))


def _stem(given: Mapping[str, Any], name: str) -> Path:
    """The file that all names follow from."""
    output: Path = given["save_path"] or DEFAULT_OUTPUT
    if output.suffix and not output.is_dir():
        return output
    return output / f"{name}{'-' if name else ''}{datetime.now():%Y%m%d-%H%M%S}{suffix_asked(given)}"


def make_seeds(items: Sequence[Item], make: Callable[[], None], given: Mapping[str, Any], console: Console) -> None:
    """Make every video, then the sheet of those that are there.

    Raises:
        InputError: something that is not to be replaced stands where the sheet would be.
        RunError: some videos were not made; which.
    """
    first: Path = items[0].values["save_path"]
    sheet = first.with_name(f"{first.stem.rpartition('-seed')[0]}_seeds.png")
    films = given["output_type"] in (None, "video", "both")
    if films:
        _check_free(sheet, replace=given["overwrite"] or given["resume"] is not None)
    try:
        make()
    except RunError:
        if films:
            _write(items, sheet, console)
        raise
    if films:
        _write(items, sheet, console)


def _check_free(path: Path, replace: bool) -> None:
    if os.path.lexists(path) and (path.is_symlink() or not is_our_png(path)):
        rule = f"its sheet would be {path}, where something that this program did not make stands"
        raise TakenError(f"{rule}; remove or rename it", field="seeds")
    if os.path.lexists(path) and not replace:
        rule = f"{path} is there from an earlier run; replace it by `overwrite`, or give another `save_path`"
        raise TakenError(rule, field="seeds")


def _write(items: Sequence[Item], path: Path, console: Console) -> None:
    from wan2.run.grid import grid
    from wan2.run.video_io import count_frames

    rows = [(item.title, item.values["save_path"]) for item in items if item.values["save_path"].is_file()]
    if not rows:
        return
    last = count_frames(rows[0][1]) - 1
    frames = sorted({round(i * last / (COLUMNS - 1)) for i in range(COLUMNS)})
    with whole_file(path) as part:
        save_png(grid(rows, frames), part)
    console.done([path])
