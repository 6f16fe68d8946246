"""From parsed arguments to requests, one for every video they ask for. Loads nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from wan2.cli.flags import flag_of
from wan2.errors import InputError
from wan2.plan.begun import Begun, Clip, begin_from, begun_by_take, check_strength, read_clip
from wan2.plan.files import naming
from wan2.plan.resume import BESIDE, saved_values, settle
from wan2.plan.saved import read_state
from wan2.plan.saved_latents import saved_settings
from wan2.plan.told import settings_told, told_by
from wan2.request.flat import FILES, SETTINGS, make_request, typed
from wan2.request.output import CODECS, LATENT_SUFFIX, Output
from wan2.request.paths import check_name
from wan2.request.presets import Preset
from wan2.request.prompt_file import Line, parse_line, read_lines
from wan2.request.request import Request

# Flags of the command itself, which no request holds.
OF_COMMAND = (
    "from_file",
    "wave",
    "shard",
    "cluster",
    "seeds",
    "num_seeds",
    "quiet",
    "inspect",
    "models_dir",
    "download",
    "video_path",
    "strength",
    "take",
)
# The flags that still mean something when saved latents are only decoded.
DECODING = frozenset(name for name, about in SETTINGS.items() if about.decoding) | {"quiet"}
DEFAULT_OUTPUT = Output().save_path

Asked = tuple[Line, dict[str, Any]]
"""A line of a list, and the values that the command line gives for it."""

BEGINNINGS = ("video_path", "take")
SCENES = ("prompt", "from_file", "latent_path")


def asked(given: Mapping[str, Any], preset: Preset) -> Request:
    """The request for a single video.

    Raises:
        InputError: not exactly one of --prompt and --latent_path, or a value that breaks its rule.
    """
    if not scenes_of(given) and given["resume"] not in (None, BESIDE):
        return saved_request(given, preset)
    if len(scenes_of(given)) != 1:
        found = " and ".join(scenes_of(given)) or "nothing to make"
        raise InputError(f"{found}: give exactly one of --prompt, --from_file and --latent_path")
    if given["latent_path"] is not None:
        return make_request(preset, of_request(decode_values(dict(given))))
    return _settled(preset, of_request(given))


def of_request(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that belong to a request."""
    return {name: value for name, value in given.items() if name not in OF_COMMAND}


def scenes_of(given: Mapping[str, Any]) -> list[str]:
    """The flags given that say what to make."""
    return [f"--{name}" for name in SCENES if given[name] is not None]


def clip_given(given: Mapping[str, Any]) -> Clip | None:
    """The head of the video that `video_path` names.

    Raises:
        InputError: a file that cannot be read, or one without `strength`, or the reverse.
    """
    if given["video_path"] is None:
        if given["strength"] is not None and given["take"] is None:
            rule = "says how much is made anew of `video_path`, or of `take`; give one of them"
            raise InputError(rule, field="strength")
        return None
    check_strength(given["strength"])
    return read_clip(given["video_path"])


def as_long_as(clip: Clip, given: Mapping[str, Any], preset: Preset) -> dict[str, Any]:
    """The values, with the length of a clip where none is given: at most that of the preset."""
    if given["num_frames"] is not None:
        return dict(given)
    rate = preset.fps if given["fps"] is None else given["fps"]
    return {**given, "num_frames": clip.length(rate, preset.num_frames)}


def check_begun(given: Mapping[str, Any]) -> None:
    """Refuse to begin from a video what is no single scene.

    Raises:
        InputError: with the flag and the rule.
    """
    for begins in BEGINNINGS:
        for name in ("from_file", "latent_path"):
            if given[begins] is not None and given[name] is not None:
                raise InputError(f"is what one scene begins from, which cannot go with `{name}`", field=begins)
    if all(given[begins] is not None for begins in BEGINNINGS):
        raise InputError("`take` and `video_path`: two ways of saying what to begin from; give one")


def asked_alone(given: Mapping[str, Any], preset: Preset) -> tuple[Request, Begun | None]:
    """The request for a single video, and what that begins from in the place of noise.

    Raises:
        InputError: as `asked`; or a video or an earlier run that will not do.
    """
    clip, take = clip_given(given), given["take"]
    values = given if take is None else beside_take(given)
    request = asked(values if clip is None else as_long_as(clip, values, preset), preset)
    if clip is not None:
        return request, begin_from(clip, given["strength"], request)
    return request, None if take is None else begun_by_take(take, given["strength"], request)


def beside_take(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an earlier run of the base, with those given in their place.

    Raises:
        InputError: no such run, or one of an extension.
    """
    path = given["take"]
    if not path.is_file():
        raise InputError("no such file", field="take", value=path)
    with naming("take", path):
        record = told_by(path)
        if not record or "storyboard" in record:
            raise InputError(f"{path}: is no run of this program with its record")
        taken = settings_told(path, record, ("latent_path", *FILES))
        taken["fps"] = typed("fps", record["options"].get("fps"))
    if given["guidance_scale"] is not None:
        taken.pop("guidance_scale_high_noise", None)
    return {**given, **taken, **{name: value for name, value in given.items() if value is not None}}


def asked_by_lines(given: Mapping[str, Any]) -> list[Asked]:
    """Every line of `--from_file`, with the values that the command line gives for it and an output of its own.

    `out.mp4` becomes `out-001.mp4` for the first line of the file and so on; in a folder, videos have the file's name.

    Raises:
        InputError: no such file, or a flag that cannot hold for many videos.
    """
    path = given["from_file"]
    if given["resume"] not in (None, BESIDE):
        raise InputError(
            "one state for many videos; with `from_file` give no path", field="resume", value=given["resume"]
        )
    output = given["save_path"] or DEFAULT_OUTPUT
    if not output.suffix or output.is_dir():
        output = output / f"{path.stem}{suffix_asked(given)}"
    values = of_request(given)
    lines = read_lines(path)
    paths = [output.with_name(f"{output.stem}-{line.number:03d}{output.suffix}") for line in lines]
    try:
        check_name(paths[-1])
    except ValueError as error:
        raise InputError(str(error), field="save_path") from error
    asked = [(line, {**values, "save_path": one}) for line, one in zip(lines, paths, strict=True)]
    return asked if given["shard"] is None else _shard(asked, *given["shard"])


def suffix_asked(given: Mapping[str, Any]) -> str:
    """How the file ends that is made first."""
    return LATENT_SUFFIX if given["output_type"] == "latent" else CODECS[given["codec"] or Output().codec]


def _shard(asked: list[Asked], number: int, count: int) -> list[Asked]:
    """Every `count`-th line, from the one with this number on."""
    if number > len(asked):
        raise InputError(f"the list has {len(asked)} lines", field="shard", value=f"{number}/{count}")
    return asked[number - 1 :: count]


def asked_by_line(line: Line, given: Mapping[str, Any], preset: Preset) -> Request:
    """The request of one line of `--from_file`, a prompt with settings; `given` as `asked_by_lines` has it.

    Raises:
        InputError: a value that breaks its rule.
    """
    return _settled(preset, {**given, **parse_line(line)})


def _settled(preset: Preset, given: Mapping[str, Any]) -> Request:
    return settle(make_request(preset, beside_state(given)), seed_is_free=given["seed"] is None)


def beside_state(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with the output next to the state that `--resume` names, unless `--save_path` says otherwise."""
    if given["resume"] in (None, BESIDE) or given["save_path"] is not None:
        return dict(given)
    return {**given, "save_path": read_state(given["resume"]).output}


def saved_request(given: Mapping[str, Any], preset: Preset) -> Request:
    """The request of a saved run, with what is given now in place of what was given then.

    Raises:
        InputError: no state, or values that are no settings of this program.
    """
    if given["preset"] is not None:
        raise InputError("the settings are those of the state, so it cannot go with `preset`", field="resume")
    known = {name: value for name, value in of_request(given).items() if value is not None and name not in SCENES}
    return make_request(preset, saved_values(read_state(given["resume"])) | known)


def given_values(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments under the names of `Request`; None where a flag was not given."""
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
    if ignored := [name for name, value in given.items() if value is not None and name not in DECODING | also]:
        raise InputError(f"only decodes, so it cannot go with {flag_of(ignored[0])}", field="latent_path")
    saved = saved_settings(given["latent_path"])
    return given | {name: value for name, value in saved.items() if given[name] is None}
