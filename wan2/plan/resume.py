"""Which saved state a request goes on from, and whether the two agree. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from wan2.errors import InputError
from wan2.files import sweep
from wan2.plan.files import Files, absent
from wan2.plan.outputs import OutputPaths, named_outputs, targets
from wan2.plan.provenance import versions
from wan2.plan.recorded import read_record, recorded_output, recorded_seed
from wan2.plan.saved import OLDER_MODEL, SavedState, read_state
from wan2.plan.saved_latents import TENSOR
from wan2.request.flat import FILES, OF_ONE_COMMAND, SETTINGS, plain_values, typed
from wan2.request.model import SUFFIX
from wan2.request.request import Request
from wan2.sampling.solvers import MULTISTEP
from wan2.weights.header import read_header

# What must be as in the run that saved a state, because the latents depend on it.
DECIDING = frozenset(name for name, about in SETTINGS.items() if about.decides)
# The libraries that no latent depends on.
FREE_VERSIONS = frozenset({"av", "safetensors"})
# `resume` without a path: the state beside the output.
BESIDE = Path()
SHOWN = 60


class Origin(NamedTuple):
    """What a run is compared with: the value of `resume` that named it, and how a message about it begins."""

    value: object
    words: str


def settle(request: Request, seed_is_free: bool) -> Request:
    """The request whose `resume` names a file: that of a state, or of one that is gone because the run is done.

    Without a state and without a finished output the run begins from the start. `seed_is_free`: nobody gave a seed,
    so it is the state's.

    Raises:
        InputError: `resume` without a path and without a file to find the state beside, or a state that is none.
    """
    if request.resume is None:
        return request
    if request.resume != BESIDE:
        return _of(request, read_state(request.resume), seed_is_free)
    paths = named_outputs(request.output.save_path)
    if paths is None:
        rule = "needs the path of a state, or `save_path` with the name of a file to find it by"
        raise InputError(rule, field="resume")
    if paths.state.exists():
        return _of(replace(request, resume=paths.state), read_state(paths.state), seed_is_free)
    if not paths.main(request).exists():
        # What an earlier run left without its video may go; another kind of output is one that was finished.
        alone = not _other_output(paths)
        return replace(request, resume=None).putting(overwrite=request.output.overwrite or alone)
    made = replace(request, resume=paths.state)
    return replace(made, seed=recorded_seed(paths.record, made.seed)) if seed_is_free else made


def _other_output(paths: OutputPaths) -> bool:
    """Whether an earlier run of these names finished. Latents are kept beside a video, too, which may be gone."""
    if paths.video.exists() or paths.images.exists():
        return True
    return paths.latents.exists() and recorded_output(paths.record) in (None, "latent")


def what_remains(request: Request, scene: Mapping[str, Any], files: Files) -> Request | None:
    """The run that is left to make; None when `settle` found that nothing is.

    `scene`: what of it decides the latents, as in the record.

    Raises:
        InputError: what has the name is, by its record, another video, which `overwrite` would make anew.
    """
    if request.resume is None or request.resume.exists():
        return request
    if not _is_made(request):
        return replace(request, resume=None)  # `check_outputs` refuses what stands there
    try:
        check_record(request, scene, files)
    except InputError:
        if request.output.overwrite:
            return replace(request, resume=None)
        raise
    sweep(request.output.save_path.with_suffix(""))
    return None


def _is_made(request: Request) -> bool:
    """Whether what has the name of the output was made by this program."""
    paths = named_outputs(request.output.save_path)
    found = () if paths is None else targets(request, paths)
    return bool(found) and found[0].ours(found[0].path)


def check_record(request: Request, scene: Mapping[str, Any], files: Files) -> None:
    """Refuse to take a finished video for another. Without a record beside it, it is what its name says.

    Raises:
        InputError: the first difference between the record and this run, by its setting.
    """
    paths = named_outputs(request.output.save_path)
    record = read_record(paths.record) if paths else None
    if paths is None or record is None:
        return
    origin = Origin("", f"{paths.main(request)} is there already, made")
    saved, given = record["options"], plain_values(request, whole_paths=False)
    if "sample_solver" in saved and not OLDER_MODEL.keys() <= saved.keys():
        if (solver := saved["sample_solver"]) in MULTISTEP:
            rule = f"{origin.words} by a version in which `sample_solver` {solver} had other noise levels"
            raise InputError(rule, field="resume")
        saved = OLDER_MODEL | saved
    _check_loras(origin, saved, given)
    for name in sorted(given.keys() & saved.keys() & DECIDING):
        if saved[name] != given[name]:
            refuse_difference(origin, f"`{name}`", saved[name], given[name])
    for name, now in scene.items():
        if record.get(name) != now:
            refuse_difference(origin, name, record.get(name), now)
    _check_fingerprints(origin, record["checkpoints"], request, files)


def _of(request: Request, state: SavedState, seed_is_free: bool) -> Request:
    seed = state.options.get("seed")
    return replace(request, seed=seed) if seed_is_free and type(seed) is int else request


def saved_values(state: SavedState) -> dict[str, Any]:
    """What was asked of the saved run, by flat names; its output lies beside the state.

    Raises:
        InputError: a value that is missing, unknown or of the wrong type.
    """
    known = SETTINGS.keys() - set(FILES) - set(OF_ONE_COMMAND)
    _check_names(state, state.options, {*known, "files"}, "options")
    files = state.options["files"]
    if not isinstance(files, dict):
        raise InputError("its option files does not hold what it should", field="resume", value=state.path)
    _check_names(state, files, set(FILES), "files")
    values = {name: value for name, value in state.options.items() if name != "files"} | files
    found = {name: _typed(state, name, value) for name, value in values.items()}
    return found | {"save_path": state.output, "resume": state.path}


def _check_names(state: SavedState, found: Mapping[str, Any], expected: set[str], what: str) -> None:
    if odd := sorted(found.keys() ^ expected):
        rule = f"its {what} do not fit this program ({odd[0]!r:.40})"
        raise InputError(rule, field="resume", value=state.path)


def _typed(state: SavedState, name: str, value: object) -> Any:  # noqa: ANN401
    try:
        return typed(name, value)
    except msgspec.ValidationError as error:
        rule = f"its option {name} does not hold what it should"
        raise InputError(rule, field="resume", value=state.path) from error


def check_resume(request: Request, scene: Mapping[str, Any], files: Files) -> SavedState | None:
    """The state that a run goes on from, if any, once it is known to belong to that run.

    `scene`: what an extension adds to the record. What only one of the two has must be empty: a version that knew fewer
    fields saved none of them.

    Raises:
        InputError: the first difference, by its setting.
    """
    if request.resume is None:
        return None
    state = read_state(request.resume)
    if any({**state.scene, **scene}[name] for name in state.scene.keys() ^ scene.keys()):
        rule = "was saved by another program, which alone can go on with it"
        raise InputError(rule, field="resume", value=state.path)
    origin, given = saved_origin(state), plain_values(request, whole_paths=True)
    _check_loras(origin, state.options, given)
    for name in sorted(given.keys() & DECIDING):
        if given[name] != state.options.get(name):
            refuse_difference(origin, f"`{name}`", state.options.get(name), given[name])
    _check_shape(request, state)
    for name, now in versions().items():
        if name not in FREE_VERSIONS and state.versions.get(name) != now:
            refuse_difference(origin, name, state.versions.get(name), now)
    _check_fingerprints(origin, state.checkpoints, request, files)
    return state


def _check_loras(origin: Origin, saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse more LoRAs or fewer; that as many are the same is seen by their fingerprints."""
    for name in (f"lora_weight{suffix}" for suffix in SUFFIX.values()):
        was, now = saved.get(name, []), given[name]
        if not isinstance(was, list) or len(was) != len(now):
            refuse_difference(origin, f"`{name}`", _names(was), _names(now))


def _names(paths: object) -> str:
    """The names of files, in words."""
    found = paths if isinstance(paths, list) else [paths]
    return " ".join(Path(str(path)).name for path in found) or "none"


def _check_fingerprints(origin: Origin, checkpoints: Mapping[str, Any], request: Request, files: Files) -> None:
    left_out = ("vae", *absent(request))  # no latent depends on the one, the others are refused elsewhere
    for name, now in files.fingerprints(request, without=left_out).items():
        saved = checkpoints.get(name)
        saved = saved.get("fingerprint") if isinstance(saved, dict) else saved
        if saved != now["fingerprint"]:
            refuse_difference(origin, f"another `{name}`, of fingerprint", saved, now["fingerprint"])


def _check_shape(request: Request, state: SavedState) -> None:
    shape, expected = read_header(state.path).shapes[TENSOR], (1, *request.shape.latent)
    if shape != expected:
        rule = f"holds latents of {list(shape)}, this run makes {list(expected)}"
        raise InputError(rule, field="resume", value=state.path)


def saved_origin(state: SavedState) -> Origin:
    """What a run that goes on from a state is compared with."""
    return Origin(state.path, "was saved")


def refuse_difference(origin: Origin, name: str, saved: object, now: object) -> None:
    """Raise the error that names one difference."""
    rule = f"{origin.words} with {name} {_short(saved)}, not {_short(now)}"
    raise InputError(rule, field="resume", value=origin.value)


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
