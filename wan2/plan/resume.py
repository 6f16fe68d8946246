"""Which saved state a command line goes on from, and whether the two agree. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.files import sweep
from wan2.plan.checks import model_files
from wan2.plan.outputs import named_outputs, targets
from wan2.plan.recorded import read_record, recorded_seed
from wan2.plan.saved import OLDER_MODEL, SavedState, plain_options, read_state
from wan2.request.fields import flag_of
from wan2.request.loras import LORA_WEIGHTS, lora_files
from wan2.request.presets import ModelFiles
from wan2.request.request import BESIDE, OF_ONE_COMMAND, Options
from wan2.run.record import fingerprints, versions
from wan2.sampling.solvers import MULTISTEP

# What may differ from the run that saved a state, because no latent depends on it.
FREE = frozenset(
    {"files", "fps", "preview", "save_every", "output_type", "save_path", "crf", "no_metadata", "resume", "overwrite"}
    | {"blocks_to_swap", "passes_apart", "weights_from", "vram_budget", "fp8_cache"}
    | {"tile_height", "tile_width", "vae_cache_cpu", "vae_dtype"}
    | set(LORA_WEIGHTS.values())  # of which only the paths are free
)
# The libraries that no latent depends on.
FREE_VERSIONS = frozenset({"av", "safetensors"})
# The types of the fields of `Options`, as its annotations spell them.
TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "Path": (str,),
    "Path | None": (str, type(None)),
    "int | str": (int, str),
    "ModelFiles": (dict,),
    "tuple[Path, ...]": (list,),
    "tuple[float, ...]": (list,),
}
MANY = "tuple["
SHOWN = 60


def settle(options: Options, seed_is_free: bool) -> Options:
    """Options whose `--resume` names a file: that of a state, or of one that is gone because the run is done.

    Without a state and without a finished output the run begins from the start. `seed_is_free`: nobody gave a seed,
    so it is the state's.

    Raises:
        InputError: `--resume` without a path and without a file to find the state beside, or a state that is none.
    """
    if options.resume is None:
        return options
    if options.resume != BESIDE:
        state = read_state(options.resume)
        return _of(options, state, seed_is_free)
    paths = named_outputs(options.save_path)
    if paths is None:
        raise InputError("--resume: needs the path of a state, or --save_path with the name of a file to find it by")
    if paths.state.exists():
        return _of(replace(options, resume=paths.state), read_state(paths.state), seed_is_free)
    if not paths.main(options).exists():
        # What an earlier run left without its video may go; another kind of output is one that was finished.
        alone = not any(path.exists() for path in (paths.video, paths.latents, paths.images))
        return replace(options, resume=None, overwrite=options.overwrite or alone)
    made = replace(options, resume=paths.state)
    return replace(made, seed=recorded_seed(paths.record, made.seed)) if seed_is_free else made


def what_remains(options: Options, scene: Mapping[str, Any]) -> Options | None:
    """The run that is left to make; None when `settle` found that nothing is.

    `scene`: what of it decides the latents, as in the record.

    Raises:
        InputError: what has the name is, by its record, another video, which `--overwrite` would make anew.
    """
    if options.resume is None or options.resume.exists():
        return options
    if not _is_made(options):
        return replace(options, resume=None)  # `check_outputs` refuses what stands there
    try:
        check_record(options, scene)
    except InputError:
        if options.overwrite:
            return replace(options, resume=None)
        raise
    sweep(options.save_path.with_suffix(""))
    return None


def _is_made(options: Options) -> bool:
    """Whether what has the name of the output was made by this program."""
    paths = named_outputs(options.save_path)
    found = () if paths is None else targets(options, paths)
    return bool(found) and found[0].ours(found[0].path)


def check_record(options: Options, scene: Mapping[str, Any]) -> None:
    """Refuse to take a finished video for another. Without a record beside it, it is what its name says.

    Raises:
        InputError: the first difference between the record and this run, by its flag.
    """
    paths = named_outputs(options.save_path)
    record = read_record(paths.record) if paths else None
    if paths is None or record is None:
        return
    place = f"--resume: {paths.main(options)} is there already, made"
    saved, given = record["options"], options.as_record()
    if "sample_solver" in saved and not OLDER_MODEL.keys() <= saved.keys():
        if (solver := saved["sample_solver"]) in MULTISTEP:
            raise InputError(f"{place} by a version in which --sample_solver {solver} had other noise levels")
        saved = OLDER_MODEL | saved
    _check_loras(place, saved, given)
    for name in sorted(given.keys() & saved.keys() - FREE):
        if saved[name] != given[name]:
            refuse_difference(place, flag_of(name), saved[name], given[name])
    for name, now in scene.items():
        if record.get(name) != now:
            refuse_difference(place, name, record.get(name), now)
    _check_fingerprints(place, record["checkpoints"], options)


def _of(options: Options, state: SavedState, seed_is_free: bool) -> Options:
    seed = state.options.get("seed")
    return replace(options, seed=seed) if seed_is_free and type(seed) is int else options


def saved_values(state: SavedState) -> dict[str, Any]:
    """What the saved run was told, under the names of `Options` and `ModelFiles`; its output lies beside the state.

    Raises:
        InputError: a value that is missing, unknown or of the wrong type.
    """
    kinds = {field.name: str(field.type) for field in fields(Options) if field.name not in OF_ONE_COMMAND}
    _check_names(state, state.options, kinds.keys(), "options")
    values = {name: _typed(state, name, value, kinds[name]) for name, value in state.options.items()}
    files = values.pop("files")
    _check_names(state, files, {field.name for field in fields(ModelFiles)}, "files")
    values |= {name: _typed(state, name, value, "Path") for name, value in files.items()}
    return values | {"save_path": state.output, "resume": state.path}


def _check_names(state: SavedState, found: Mapping[str, Any], expected: Any, what: str) -> None:  # noqa: ANN401
    if odd := sorted(found.keys() ^ set(expected)):
        raise InputError(f"--resume {state.path}: its {what} do not fit this program ({odd[0]!r:.40})")


def _typed(state: SavedState, name: str, value: object, kind: str) -> Any:  # noqa: ANN401
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise InputError(f"--resume {state.path}: its option {name} does not hold what it should")
    if isinstance(value, list):
        inner = kind.removeprefix(MANY).partition(",")[0]
        return tuple(_typed(state, name, item, inner) for item in value)
    return Path(str(value)) if kind.startswith("Path") and value is not None else value


def check_resume(options: Options, scene: Mapping[str, Any]) -> SavedState | None:
    """The state that a run goes on from, if any, once it is known to belong to that run.

    `scene`: what an extension tells the run, of which the names must be those it told the saved run.

    Raises:
        InputError: the first difference, by its flag.
    """
    if options.resume is None:
        return None
    state = read_state(options.resume)
    _check_same_program(state, scene)
    place, given = saved_place(state), plain_options(options)
    _check_loras(place, state.options, given)
    for name in given.keys() - FREE:
        if given[name] != state.options.get(name):
            refuse_difference(place, flag_of(name), state.options.get(name), given[name])
    _check_shape(options, state)
    for name, now in versions().items():
        if name not in FREE_VERSIONS and state.versions.get(name) != now:
            refuse_difference(place, name, state.versions.get(name), now)
    _check_fingerprints(place, state.checkpoints, options)
    return state


def _check_loras(place: str, saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse more LoRAs or fewer; that as many are the same is seen by their fingerprints."""
    for name in LORA_WEIGHTS.values():
        was, now = saved.get(name, []), given[name]
        if not isinstance(was, list) or len(was) != len(now):
            refuse_difference(place, f"--{name}", _names(was), _names(now))


def _names(paths: object) -> str:
    """The names of files, in words."""
    found = paths if isinstance(paths, list) else [paths]
    return " ".join(Path(str(path)).name for path in found) or "none"


def _check_fingerprints(place: str, checkpoints: Mapping[str, Any], options: Options) -> None:
    files = {name: (path,) for name, path in model_files(options).items()} | lora_files(options)
    absent = [name for name, paths in files.items() if not all(path.exists() for path in paths)]  # refused elsewhere
    for name, now in fingerprints(options, without=("vae", *absent)).items():
        saved = checkpoints.get(name)
        saved = saved.get("fingerprint") if isinstance(saved, dict) else saved
        if saved != now["fingerprint"]:
            refuse_difference(place, f"another --{name}, of fingerprint", saved, now["fingerprint"])


def _check_same_program(state: SavedState, scene: Mapping[str, Any]) -> None:
    if state.scene.keys() != scene.keys():
        raise InputError(f"--resume {state.path}: was saved by another program, which alone can go on with it")


def _check_shape(options: Options, state: SavedState) -> None:
    from wan2.run.latents import TENSOR
    from wan2.weights.header import read_header

    shape, expected = read_header(state.path).shapes[TENSOR], (1, *options.shape.latent)
    if shape != expected:
        raise InputError(f"--resume {state.path}: holds latents of {list(shape)}, this run makes {list(expected)}")


def saved_place(state: SavedState) -> str:
    """How a message about what differs from a state begins."""
    return f"--resume {state.path}: was saved"


def refuse_difference(place: str, name: str, saved: object, now: object) -> None:
    """Raise the error that names one difference."""
    raise InputError(f"{place} with {name} {_short(saved)}, not {_short(now)}")


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
