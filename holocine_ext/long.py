"""A long film on the command line: its windows made one after the other, or the first of them planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from holocine_ext.forecast import Forecast
from holocine_ext.plan import look_ahead
from holocine_ext.request import SceneRequest
from holocine_ext.windows import LongFilm, in_windows, window_lines
from wan2.cli.console import Console
from wan2.errors import InputError
from wan2.plan.files import Files
from wan2.plan.outputs import Inputs, named_outputs
from wan2.plan.rates import Rate
from wan2.plan.resume import what_remains


def make_long(
    long: LongFilm,
    given: Mapping[str, Any],
    words: Sequence[str],
    inputs: Inputs,
    console: Console,
    make: Callable[[SceneRequest], None],
) -> None:
    """Make a film window by window; `make` makes one of its requests. words: the command line, which goes on with it.

    Raises:
        InputError: it has no name, or one that is taken, or a window cannot be made.
    """
    film, base, goes_on = long.film, long.film.base, given["resume"] is not None
    if named_outputs(base.output.save_path) is None or not base.output.decodes:
        rule = "a film that is longer than the weights take is made in windows, and must be named, such as film.mp4"
        raise InputError(rule, field="save_path", value=base.output.save_path)
    if (long.names.record.exists() or not long.begun) and what_remains(base, film.deciding, Files()) is None:
        long.clear()
        console.note(f"{long.names.main(base)}: is there already")
        return
    long.check_free(inputs, goes_on)
    console.repeats(words)
    for line in window_lines(long.windows):
        console.chose(line)
    for request in (long.seeded() if goes_on and _seed_is_free(film, given) else long).requests():
        make(request)
    long.clear()


def _seed_is_free(film: SceneRequest, given: Mapping[str, Any]) -> bool:
    """Whether nobody gave a seed."""
    told = film.making.scene.storyboard.seed if film.making else None
    return told is None and given["seed"] is None and given["take"] is None


def one_pass(request: SceneRequest) -> SceneRequest:
    """A video of several. Raises `InputError` when it needs windows, which are made one film at a time."""
    if in_windows(request):
        raise InputError("a scene that is longer than the weights take is made in windows, by a command of its own")
    return request


def ahead_of(request: SceneRequest, files: Files, inputs: Inputs, rate: Rate | None) -> Forecast:
    """What a video would cost; of a film in windows, what the first of them does.

    Raises:
        InputError: as `look_ahead`.
    """
    windows = in_windows(request)
    if not windows:
        return look_ahead(request, files, inputs, rate)
    ahead = look_ahead(LongFilm(request, windows).window(0), files, inputs, rate)
    why = f"longer than the weights take, so made in {len(windows)} windows; this is the first"
    return replace(ahead, warnings=(*ahead.warnings, why, *window_lines(windows)))
