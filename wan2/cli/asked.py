"""From parsed arguments to checked options, one for every video they ask for. Loads nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from wan2.errors import InputError
from wan2.plan.resume import saved_values, settle
from wan2.plan.saved import read_state
from wan2.request.fields import flag_of
from wan2.request.paths import check_name
from wan2.request.presets import Preset
from wan2.request.prompt_file import Line, parse_line, read_lines
from wan2.request.request import BESIDE, DECODE_FLAGS, LATENT_SUFFIX, VIDEO_SUFFIX, Options, make_options
from wan2.run.latents import saved_settings

SCENES = ("prompt", "from_file", "latent_path")


def plan_job(given: Mapping[str, Any], preset: Preset) -> Options:
    """The options of a single video.

    Raises:
        InputError: not exactly one of --prompt and --latent_path, or a value that breaks its rule.
    """
    if not scenes_of(given) and given["resume"] not in (None, BESIDE):
        return saved_options(given, preset)
    if len(scenes_of(given)) != 1:
        found = " and ".join(scenes_of(given)) or "nothing to make"
        raise InputError(f"{found}: give exactly one of --prompt, --from_file and --latent_path")
    values = {name: value for name, value in given.items() if name != "from_file"}
    if given["latent_path"] is not None:
        return make_options(preset, decode_values(values))
    return _settled(preset, values)


def scenes_of(given: Mapping[str, Any]) -> list[str]:
    """The flags given that say what to make."""
    return [f"--{name}" for name in SCENES if given[name] is not None]


def plan_lines(given: Mapping[str, Any], preset: Preset) -> list[tuple[Line, dict[str, Any]]]:
    """Every line of `--from_file`, with the values that the command line gives for it and an output of its own.

    `out.mp4` becomes `out-001.mp4` for the first line of the file and so on; in a folder, videos have the file's name.

    Raises:
        InputError: no such file, or a flag that cannot hold for many videos.
    """
    path = given["from_file"]
    if given["resume"] not in (None, BESIDE):
        raise InputError(f"--resume {given['resume']}: one state for many videos; with --from_file give no path")
    output = given["save_path"] or preset.save_path
    if not output.suffix or output.is_dir():
        latent = given["output_type"] == "latent"
        output = output / f"{path.stem}{LATENT_SUFFIX if latent else VIDEO_SUFFIX}"
    values = {name: value for name, value in given.items() if name != "from_file"}
    lines = read_lines(path)
    paths = [output.with_name(f"{output.stem}-{line.number:03d}{output.suffix}") for line in lines]
    try:
        check_name(paths[-1])
    except ValueError as error:
        raise InputError(f"--save_path {error}") from error
    return [(line, {**values, "save_path": one}) for line, one in zip(lines, paths, strict=True)]


def plan_line(line: Line, given: Mapping[str, Any], preset: Preset) -> Options:
    """The options of one line of `--from_file`, a prompt with settings; `given` as `plan_lines` has it.

    Raises:
        InputError: a value that breaks its rule.
    """
    return _settled(preset, {**given, **parse_line(line)})


def _settled(preset: Preset, given: Mapping[str, Any]) -> Options:
    return settle(make_options(preset, beside_state(given)), seed_is_free=given["seed"] is None)


def beside_state(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with the output beside the state that `--resume` names, unless `--save_path` says otherwise."""
    if given["resume"] in (None, BESIDE) or given["save_path"] is not None:
        return dict(given)
    return {**given, "save_path": read_state(given["resume"]).output}


def saved_options(given: Mapping[str, Any], preset: Preset) -> Options:
    """The options of a saved run, told anew what was given; `preset` names what is not in them.

    Raises:
        InputError: no state, or values that are no options of this program.
    """
    if given["preset"] is not None:
        raise InputError("--resume: the options are those of the state, so it cannot go with --preset")
    known = {name: value for name, value in given.items() if value is not None and name not in SCENES}
    return make_options(preset, saved_values(read_state(given["resume"])) | known)


def given_values(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments under the names of `Options`; None where a flag was not given."""
    given = dict(vars(args))
    given["height"], given["width"] = given.pop("video_size") or (None, None)
    given["tile_height"], given["tile_width"] = given.pop("vae_tiling") or (None, None)
    given["num_frames"] = given.pop("video_length")
    return given


def decode_values(given: dict[str, Any], also: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The values for decoding saved latents, completed by what these say of themselves.

    Raises:
        InputError: a flag (outside `also`) that decoding alone would ignore, or a file that holds no saved latents.
    """
    if ignored := [name for name, value in given.items() if value is not None and name not in DECODE_FLAGS | also]:
        raise InputError(f"--latent_path: only decodes, so it cannot go with {flag_of(ignored[0])}")
    saved = saved_settings(given["latent_path"])
    return given | {name: value for name, value in saved.items() if given[name] is None}
