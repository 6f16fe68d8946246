"""From parsed arguments to scenes, one for every video they ask for. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from holocine_ext.layered import film_settings, laid_over, preset_of
from holocine_ext.presets import DEFAULT_MODEL, DEFAULT_VARIANT, MODELS
from holocine_ext.request import SHOWING, Making, SceneRequest, Shown, beginning, scene_request
from holocine_ext.reshoot import STRENGTH, board_beside, cast_beside, refined, repeated, reshot, values_beside
from holocine_ext.saved import saved_scene, saved_shots
from holocine_ext.shots.layout import plan_layout
from holocine_ext.story.boards import from_arguments, from_file
from holocine_ext.takes.kept import Kept
from holocine_ext.takes.take import read_take
from holocine_ext.windows import in_windows
from wan2.cli.asked import as_long_as, asked_by_lines, beside_state, clip_given, decode_values, of_request
from wan2.cli.lists import Item, items_of
from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.plan.begun import begin_from
from wan2.plan.files import naming
from wan2.plan.resume import BESIDE, saved_values
from wan2.plan.saved import read_state, state_origin
from wan2.plan.saved_latents import saved_record
from wan2.request.flat import make_request
from wan2.request.paths import path_of
from wan2.request.prompt_file import Line, parse_line
from wan2.shapes import TIME_STRIDE

SCENE_FLAGS = ("storyboard", "prompt", "global_caption", "shot_captions", "shot_cut_frames")
LOOKING_FLAGS = ("dry_run", "lint", "tflops", "card", "check_machine", "list_takes")
TAKE_FLAGS = ("take", "reshoot", "strength", "video_path")
OWN_FLAGS = (
    "model",
    "variant",
    "shot_mask_type",
    *TAKE_FLAGS,
    *LOOKING_FLAGS,
    "export_shots",
    "contact_sheet",
    "export_timeline",
)


def asked(given: Mapping[str, Any]) -> SceneRequest:
    """The single video that the command line asks for.

    Raises:
        InputError: no scene or two ways of giving one, or a value that breaks its rule.
    """
    if given["latent_path"] is not None:
        return _decoding(given)
    if given["resume"] not in (None, BESIDE) and all(given[name] is None for name in (*SCENE_FLAGS, "take")):
        return _resumed(given)
    _check_takes(given)
    made = _made(given) if given["take"] is None else _taken(given)
    if given["hold_noise"] is not None and not made.kept.holds and not in_windows(made):
        raise InputError("nothing is held; `reshoot` holds the other shots", field="hold_noise")
    return made


def items(given: Mapping[str, Any]) -> list[Item]:
    """Every line of `--from_file`, as `wan2.cli.asked.asked_by_lines`; nothing else may give a scene.

    Raises:
        InputError: no such file, or a flag that cannot hold for many videos.
    """
    for name in (*SCENE_FLAGS, *TAKE_FLAGS):
        if given[name] is not None:
            raise InputError(f"`from_file` and `{name}`: two ways of giving a scene; give exactly one")
    return items_of(asked_by_lines(given))


def storyboards(items: Sequence[Item]) -> list[Path]:
    """The storyboards that the lines of a list name; a line that cannot be read names none."""
    found = []
    for item in items:
        if item.line is not None:
            with suppress(InputError):
                found.append(_storyboard_of(item.line, parse_line(item.line)))
    return found


def asked_by_line(item: Item) -> SceneRequest:
    """The scene of one line of `--from_file`: a storyboard, relative to that file, and settings.

    Raises:
        InputError: a storyboard outside the folder of the file, or a scene or setting that breaks its rule.
    """
    line = item.line
    if line is None:
        raise ValueError("the item is no line")
    settings = parse_line(line)
    folder, storyboard = line.path.parent, _storyboard_of(line, settings)
    with Reading(line.place):  # also a link that leads to itself
        inside = storyboard.resolve().is_relative_to(folder.resolve())
    if not inside:
        raise InputError(f"{line.place}: {settings['prompt']} leaves the folder of the file")
    return _made({**item.values, **settings, "prompt": None, "storyboard": storyboard})


def _storyboard_of(line: Line, settings: Mapping[str, Any]) -> Path:
    try:
        return line.path.parent / path_of(settings["prompt"])
    except ValueError as error:
        raise InputError(f"{line.place}: {error}") from error


def variant_asked(given: Mapping[str, Any]) -> str | None:
    """The variant that the storyboard of a single video names, or its take has. Raises `InputError` as `asked`."""
    if given["models_dir"] is None or (given["storyboard"] is None and given["take"] is None):
        return None
    if given["storyboard"] is None:
        with naming("take", given["take"]):
            return read_take(given["take"]).scene.variant
    return preset_of(from_file(given["storyboard"]), given["model"], None).variant


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in of_request(given).items() if name not in (*SCENE_FLAGS, *OWN_FLAGS)}


def _shown(given: Mapping[str, Any]) -> Shown:
    return Shown(given["contact_sheet"], bool(given["export_shots"]), bool(given["export_timeline"]))


def _made(given: Mapping[str, Any]) -> SceneRequest:
    storyboard = from_arguments(**{name: given[name] for name in SCENE_FLAGS})
    values, preset = _settings(beside_state(given)), preset_of(storyboard, given["model"], given["variant"])
    clip = clip_given(given) if given.get("video_path") is not None else None  # lines of a list have none
    if clip is not None and storyboard.lengths is None and storyboard.num_frames is None:
        fps = storyboard.fps if values["fps"] is None else values["fps"]
        values |= {"num_frames": as_long_as(clip, {**values, "fps": fps}, preset)["num_frames"]}
    made = scene_request(storyboard, preset, values, given["shot_mask_type"], _shown(given))
    if clip is None or made.layout is None:
        return made
    return beginning(made, begin_from(clip, given["strength"], replace(made.base, num_frames=made.layout.num_frames)))


def _check_takes(given: Mapping[str, Any]) -> None:
    """Refuse flags that say something of a take, or of its shots, where there is none."""
    if given["reshoot"] is not None and given["take"] is None:
        raise InputError("makes shots of a take anew; give `take`, too", field="reshoot")
    if given["strength"] is not None:
        STRENGTH.check("strength", given["strength"])
        if given["reshoot"] is None and given["take"] is None and given["video_path"] is None:
            rule = "says how much is made anew of `reshoot`, of all of `take`, or of `video_path`; give one of them"
            raise InputError(rule, field="strength")
    if given["video_path"] is not None and given["take"] is not None:
        raise InputError("`take` and `video_path`: two ways of saying what to begin from; give one")


def _taken(given: Mapping[str, Any]) -> SceneRequest:
    """The video of an earlier run, with what is given in place of what was given then."""
    with naming("take", given["take"]):
        take = read_take(given["take"])
        scene = take.scene
    board = board_beside(take, given)
    preset = preset_of(board, given["model"], given["variant"], (scene.model, scene.variant))
    with naming("take", given["take"]):
        beside = laid_over(film_settings(board), _settings(beside_state(given)), preset)
        values = values_beside(take, beside, preset)
    if given["reshoot"] is not None or given["strength"] is not None:
        values["seed"] = given["seed"]
    mask = given["shot_mask_type"] or scene.shot_mask_type
    with naming("take", given["take"]):
        cast = cast_beside(take, board)
    made = scene_request(board, preset, values, mask, _shown(given), cast)
    with naming("take", given["take"]):
        if given["reshoot"] is None and given["strength"] is not None:
            return refined(made, take, given["strength"])
        if given["reshoot"] is None:
            return repeated(made, take, cast or ())
        return reshot(made, take, given["reshoot"], given["strength"], cast or ())


def _resumed(given: Mapping[str, Any]) -> SceneRequest:
    """The scene of a saved state, with what is given now in place of what was given then."""
    for name in ("model", "variant", "shot_mask_type", "preset", "dry_run", "lint", *TAKE_FLAGS):
        if given[name] is not None:
            raise InputError(f"the scene is that of the state, so it cannot go with `{name}`", field="resume")
    state = read_state(given["resume"])
    saved = saved_scene(state)
    preset = MODELS[saved.model][saved.variant]
    known = {name: value for name, value in _settings(given).items() if value is not None}
    base = make_request(preset, saved_values(state) | known)
    scene = replace(saved.scene, fps=base.fps)
    kept = Kept(state_origin(state), saved.held, saved.cast, saved.begun)
    frames = base.shape.num_frames - TIME_STRIDE * sum(kept.behind)
    layout = plan_layout(frames, scene.num_shots, saved.cuts, base.shape.tokens_per_frame)
    showing = {name: getattr(saved, name) if given[name] is None else given[name] for name in SHOWING}
    board = scene.storyboard
    making = Making(scene, preset, saved.shot_mask_type)
    return SceneRequest(base, making, layout, board.global_caption or "", board.shot_captions, kept, Shown(**showing))


def _decoding(given: Mapping[str, Any]) -> SceneRequest:
    """Saved latents to decode, with the shots that their record names, if it was kept."""
    values = decode_values(dict(given), also=SHOWING)
    record = saved_record(given["latent_path"])
    base = make_request(MODELS[DEFAULT_MODEL][DEFAULT_VARIANT], _settings(values))
    if record.get("cuts") is None:
        return SceneRequest(base, None, None, "", (), shown=_shown(given))
    layout, title, captions = saved_shots(record, f"`latent_path` {given['latent_path']}", base.shape)
    return SceneRequest(base, None, layout, title, captions, shown=_shown(given))
