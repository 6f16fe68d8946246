"""One video as the command line asks for it: request, scene and shots, settled from flags, file and preset.

Loads nothing; `preflight.py` holds it against the files it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from holocine_ext.pictures.faces import font_warnings
from holocine_ext.presets import DEFAULT_MODEL, DEFAULT_VARIANT, MODELS, TRAINED_FRAMES, TRAINED_SHOTS
from holocine_ext.saved import saved_scene, saved_shots
from holocine_ext.shots.layout import ShotLayout, plan_layout
from holocine_ext.story.scene import Scene, plan_scene, scene_warnings
from holocine_ext.story.storyboard import from_arguments
from wan2.cli.asked import beside_state, decode_values, plan_lines
from wan2.cli.lists import Lines
from wan2.errors import InputError
from wan2.parsing import Reading
from wan2.plan.marks import is_our_png, is_our_video
from wan2.plan.outputs import OutputPaths, Target
from wan2.plan.resume import saved_values, settle
from wan2.plan.saved import read_state
from wan2.request.paths import path_of
from wan2.request.presets import ModelFiles, Preset
from wan2.request.prompt_file import Line, parse_line
from wan2.request.request import BESIDE, Request, make_request
from wan2.run.latents import saved_record

SHEET_ENDING = "_sheet.png"
SCENE_FLAGS = ("storyboard", "prompt", "global_caption", "shot_captions", "shot_cut_frames")
OWN_FLAGS = ("model", "variant", "shot_mask_type", "dry_run", "tflops", "export_shots", "contact_sheet")
SHOWING = frozenset({"export_shots", "contact_sheet"})
# What of the record decides the latents beside the request, and how messages call it.
DECIDING = {"cuts": "cuts at frames", "variant": "--variant", "shot_mask_type": "--shot_mask_type"}


def shot_paths(base: Path, num_shots: int) -> tuple[Path, ...]:
    """The files of single shots that share stem and folder with `base`: `scene_shot01.mp4` and so on."""
    digits = max(2, len(str(num_shots)))
    return tuple(base.with_name(f"{base.stem}_shot{number:0{digits}d}.mp4") for number in range(1, num_shots + 1))


@dataclass(frozen=True)
class Making:
    """What a video is made from; `named_files` are the model files that the command line named itself."""

    scene: Scene
    preset: Preset
    variant: str
    shot_mask_type: str | None
    named_files: frozenset[str]

    @property
    def sparse(self) -> bool:
        """Whether self-attention is sparse between shots."""
        return self.variant == "sparse"


@dataclass(frozen=True)
class Job:
    """One video. `making` is None when saved latents are only decoded, `layout` when they say nothing of shots."""

    request: Request
    making: Making | None
    layout: ShotLayout | None
    title: str
    captions: tuple[str, ...]
    export_shots: bool
    contact_sheet: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but likely to disappoint, a line each."""
        found = scene_warnings(self.making.scene, TRAINED_FRAMES, TRAINED_SHOTS) if self.making else ()
        return found + (font_warnings((self.title, *self.captions)) if self.contact_sheet else ())

    @property
    def deciding(self) -> dict[str, Any]:
        """What of the record decides the latents beside the request."""
        record = self.as_record()
        return {name: record[name] for name in DECIDING if name in record}

    def shown(self, paths: OutputPaths) -> tuple[Target, ...]:
        """What is written besides the files of the base: the contact sheet, and every shot as a video."""
        found = []
        if self.contact_sheet:
            found.append(Target("contact sheet", paths.beside(SHEET_ENDING), is_our_png))
        if self.export_shots and self.layout is not None:
            shots = shot_paths(paths.video, self.layout.num_shots)
            found += [Target(f"shot {number}", path, is_our_video) for number, path in enumerate(shots, 1)]
        return tuple(found)

    def as_record(self) -> dict[str, Any]:
        """What the job adds to the record of the run; `decode_job` reads it again."""
        cuts = list(self.layout.cuts) if self.layout else None
        scene: dict[str, Any] = {"title": self.title, "captions": list(self.captions), "cuts": cuts}
        if self.making is not None:
            made = self.making
            scene |= {"storyboard": made.scene.as_record(), "model": made.preset.name, "variant": made.variant}
            scene |= {"shot_mask_type": made.shot_mask_type}
            scene |= {"export_shots": self.export_shots, "contact_sheet": self.contact_sheet}
        return scene


def plan_job(given: Mapping[str, Any]) -> Job:
    """The single video that the command line asks for.

    Raises:
        InputError: no scene or two ways of giving one, or a value that breaks its rule.
    """
    values = {name: value for name, value in given.items() if name != "from_file"}
    if given["latent_path"] is not None:
        return decode_job(given)
    if given["resume"] not in (None, BESIDE) and all(given[name] is None for name in SCENE_FLAGS):
        return resumed_job(values)
    return make_job(values)


def plan_scenes(given: Mapping[str, Any]) -> list[tuple[Line, dict[str, Any]]]:
    """Every line of `--from_file`, as `wan2.cli.asked.plan_lines`; nothing else may give a scene.

    Raises:
        InputError: no such file, or a flag that cannot hold for many videos.
    """
    for name in SCENE_FLAGS:
        if given[name] is not None:
            raise InputError(f"--from_file and --{name}: two ways of giving a scene; give exactly one")
    return plan_lines(given, MODELS[given["model"] or DEFAULT_MODEL][given["variant"] or DEFAULT_VARIANT])


def storyboards(lines: Lines) -> list[Path]:
    """The storyboards that the lines of a list name; a line that cannot be read names none."""
    found = []
    for line, _ in lines:
        with suppress(InputError):
            found.append(_storyboard_of(line, parse_line(line)))
    return found


def line_job(line: Line, given: Mapping[str, Any]) -> Job:
    """The job of one line of `--from_file`: a storyboard, relative to that file, and settings.

    Raises:
        InputError: a storyboard outside the folder of the file, or a scene or setting that breaks its rule.
    """
    settings = parse_line(line)
    folder, storyboard = line.path.parent, _storyboard_of(line, settings)
    with Reading(line.place):  # also a link that leads to itself
        inside = storyboard.resolve().is_relative_to(folder.resolve())
    if not inside:
        raise InputError(f"{line.place}: {settings['prompt']} leaves the folder of the file")
    return make_job({**given, **settings, "prompt": None, "storyboard": storyboard})


def _storyboard_of(line: Line, settings: Mapping[str, Any]) -> Path:
    try:
        return line.path.parent / path_of(settings["prompt"])
    except ValueError as error:
        raise InputError(f"{line.place}: {error}") from error


def resumed_job(given: Mapping[str, Any]) -> Job:
    """The job of a saved state, told anew what was given beside the scene.

    Raises:
        InputError: no state of this program, or flags that would change the scene.
    """
    for name in ("model", "variant", "shot_mask_type", "preset", "dry_run"):
        if given[name] is not None:
            raise InputError(f"the scene is that of the state, so it cannot go with --{name}", field="resume")
    state = read_state(given["resume"])
    saved = saved_scene(state)
    preset = MODELS[saved.model][saved.variant]
    known = {name: value for name, value in given.items() if name not in (*SCENE_FLAGS, *OWN_FLAGS)}
    request = make_request(preset, saved_values(state) | {n: v for n, v in known.items() if v is not None})
    scene = replace(saved.scene, fps=request.fps)
    layout = plan_layout(request.num_frames, scene.num_shots, saved.cuts, request.shape.tokens_per_frame)
    named = frozenset(field.name for field in fields(ModelFiles))
    showing = {name: getattr(saved, name) if given[name] is None else given[name] for name in SHOWING}
    board = scene.storyboard
    title = board.global_caption or ""
    making = Making(scene, preset, saved.variant, saved.shot_mask_type, named)
    return _showing(showing, request, making, layout, title, board.shot_captions)


def make_job(given: Mapping[str, Any]) -> Job:
    """A video to make. A flag wins over the storyboard, the storyboard over the preset.

    Raises:
        InputError: a scene, a layout or an option that breaks its rule.
    """
    storyboard = from_arguments(**{name: given[name] for name in SCENE_FLAGS})
    variant = given["variant"] or DEFAULT_VARIANT
    preset = MODELS[given["model"] or DEFAULT_MODEL][variant]
    scene = plan_scene(storyboard, preset, given["num_frames"], given["fps"])
    given = beside_state(given)
    values = {name: value for name, value in given.items() if name not in (*SCENE_FLAGS, *OWN_FLAGS)}
    values |= {"prompt": storyboard.prompt, "num_frames": scene.num_frames, "fps": scene.fps}
    if given["height"] is None and storyboard.size is not None:
        values |= {"height": storyboard.size[0], "width": storyboard.size[1]}
    if given["seed"] is None:
        values["seed"] = storyboard.seed
    request = settle(make_request(preset, values), seed_is_free=values["seed"] is None)
    layout = plan_layout(
        scene.num_frames, scene.num_shots, scene.cuts, request.shape.tokens_per_frame, names=scene.names
    )
    named = frozenset(field.name for field in fields(ModelFiles) if given[field.name] is not None)
    return _showing(
        given,
        request,
        Making(scene, preset, variant, given["shot_mask_type"], named),
        layout,
        storyboard.global_caption or "",
        storyboard.shot_captions,
    )


def decode_job(given: Mapping[str, Any]) -> Job:
    """Saved latents to decode, with the shots that their record tells of, if it was kept.

    Raises:
        InputError: flags that decoding alone would ignore, or no saved latents.
    """
    values = decode_values(dict(given), also=SHOWING)
    record = saved_record(given["latent_path"])
    preset = MODELS[DEFAULT_MODEL][DEFAULT_VARIANT]
    request = make_request(
        preset, {name: values[name] for name in values if name not in (*SCENE_FLAGS, *OWN_FLAGS, "from_file")}
    )
    layout, title = None, ""
    captions: tuple[str, ...] = ()
    if record.get("cuts") is not None:
        shape = request.shape
        layout, title, captions = saved_shots(record, f"--latent_path {given['latent_path']}", shape)
    return _showing(given, request, None, layout, title, captions)


def _showing(
    given: Mapping[str, Any],
    request: Request,
    making: Making | None,
    layout: ShotLayout | None,
    title: str,
    captions: tuple[str, ...],
) -> Job:
    """The job, once it is settled what is shown: the contact sheet unless refused, the shots when asked for."""
    possible = request.output.decodes and layout is not None
    for name in sorted(SHOWING):
        if given[name] and not possible:
            why = "no frames are decoded" if layout is not None else "the latents were saved without their shots"
            raise InputError(f"{why}", field=name)
    sheet = possible and given["contact_sheet"] is not False
    return Job(request, making, layout, title, captions, bool(given["export_shots"]), sheet)
