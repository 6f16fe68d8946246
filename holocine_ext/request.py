"""One video of several shots as it is asked for: scene, shots and settings, settled. Loads nothing.

`plan.py` holds it against the files it needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holocine_ext.layered import film_settings, laid_over, mask_of, told_by
from holocine_ext.pictures.faces import font_warnings
from holocine_ext.presets import ScenePreset, Trained
from holocine_ext.shots.layout import ShotLayout, plan_layout
from holocine_ext.story.characters import named_again
from holocine_ext.story.scene import Scene, plan_scene, scene_warnings
from holocine_ext.story.storyboard import Storyboard
from holocine_ext.story.timeline import EDL_ENDING, OTIO_ENDING, is_our_edl, is_our_otio
from holocine_ext.takes.board import with_takes
from holocine_ext.takes.cast import CastShot, cast_shots
from holocine_ext.takes.kept import HeldShot, Kept, keep, own_noise
from wan2.errors import InputError
from wan2.plan.begun import Begun
from wan2.plan.marks import is_our_png, is_our_video
from wan2.plan.outputs import Chapter, OutputPaths, Target
from wan2.plan.resume import settle
from wan2.request.flat import FILES, make_request
from wan2.request.request import Request
from wan2.shapes import TIME_STRIDE
from wan2.shown import one_line

SHEET_ENDING = "_sheet.png"
LONGEST_STEM, LONGEST_TITLE = 60, 120
SHOWING = frozenset({"export_shots", "contact_sheet", "export_timeline"})
# What of the record decides the latents besides the settings of the base, and how messages call it.
DECIDING = {
    "cuts": "cuts at frames",
    "variant": "`variant`",
    "shot_mask_type": "`shot_mask_type`",
    "held": "held shots",
    "cast": "cast",
    "begun": "the video it begins from",
    "directions": "seeds, guidance scales or LoRAs of shots",
}


def shot_paths(base: Path, num_shots: int) -> tuple[Path, ...]:
    """The files of single shots that share stem and folder with `base`: `scene_shot01.mp4` and so on."""
    digits = max(2, len(str(num_shots)))
    return tuple(
        base.with_name(f"{base.stem}_shot{number:0{digits}d}{base.suffix}") for number in range(1, num_shots + 1)
    )


def stem_of(storyboard: Path | str | None) -> str:
    """What the names of a film's files begin with: that of its storyboard, if it has one, as every disk takes it."""
    return re.sub(r"[^\w.-]+", "_", Path(storyboard or "").stem)[:LONGEST_STEM].strip("._-")


@dataclass(frozen=True)
class Making:
    """What a video is made from.

    `named_files` are the settings of model files that were given, not the preset's; `of_board` are those that hold
    because the storyboard says so.
    """

    scene: Scene
    preset: ScenePreset
    shot_mask_type: str | None = None
    named_files: frozenset[str] = frozenset(FILES)
    of_board: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """How self-attention goes across shots: full or sparse."""
        return self.preset.variant

    @property
    def sparse(self) -> bool:
        """Whether self-attention is sparse between shots."""
        return self.variant == "sparse"


@dataclass(frozen=True)
class Shown:
    """What is shown of the shots: a contact sheet, every shot as a video, or the film as a timeline for editors.

    None leaves it to what is possible.
    """

    contact_sheet: bool | None = None
    export_shots: bool = False
    export_timeline: bool = False


@dataclass(frozen=True)
class SceneRequest:
    """One video.

    Attributes:
        base: the request without its shots.
        making: None when saved latents are only decoded.
        layout: None when saved latents say nothing of shots.
        title: what stands above the contact sheet.
        captions: one a shot.
        kept: the shots that come from takes.
        shown: what is shown of the shots, settled.
    """

    base: Request
    making: Making | None
    layout: ShotLayout | None
    title: str
    captions: tuple[str, ...]
    kept: Kept = Kept()
    shown: Shown = field(default_factory=Shown)

    def __post_init__(self) -> None:
        possible = self.base.output.decodes and self.layout is not None
        for name in sorted(SHOWING):
            if getattr(self.shown, name) and not possible:
                why = (
                    "no frames are decoded" if self.layout is not None else "the latents were saved without their shots"
                )
                raise InputError(why, field=name)
        if self.shown.export_timeline and not self.base.output.writes_video:
            raise InputError("cuts a video, and none is written", field="export_timeline")
        if self.scales and not self.base.guided:
            rule = "a shot has a guidance scale of its own, which needs the negative pass; give more than 1"
            raise InputError(rule, field="guidance_scale", value=1)
        self._check_loras()
        settled = replace(self.shown, contact_sheet=possible and self.shown.contact_sheet is not False)
        object.__setattr__(self, "shown", settled)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but likely to disappoint, a line each."""
        trained = self.making.preset.trained if self.making else Trained()
        found = scene_warnings(self.making.scene, trained.frames, trained.shots) if self.making else ()
        found += self.kept.fitted
        return found + (font_warnings((self.shown_title, *self.shown_captions)) if self.shown.contact_sheet else ())

    @property
    def shown_title(self) -> str:
        """What stands above the contact sheet, with people's names."""
        return self._named(self.title)

    @property
    def shown_captions(self) -> tuple[str, ...]:
        """The captions as people read them, with names in the place of numbers."""
        return tuple(map(self._named, self.captions))

    def _named(self, text: str) -> str:
        return named_again(text, self.making.scene.storyboard.characters if self.making else ())

    @property
    def chapters(self) -> tuple[Chapter, ...]:
        """A chapter of the video for every shot, named by its caption unless nothing is to be said of the run."""
        if self.layout is None or self.layout.num_shots < 2:
            return ()
        said = [""] * len(self.captions) if self.base.output.no_metadata else self.shown_captions
        titles = [f"{number}. {one_line(text)}"[:LONGEST_TITLE].rstrip(". ") for number, text in enumerate(said, 1)]
        return tuple(Chapter(*frames, title) for frames, title in zip(self.layout.frames, titles, strict=True))

    @property
    def whole(self) -> ShotLayout | None:
        """The shots, and behind them the cast, as the transformer sees them."""
        return self.layout and self.layout.with_more(self.kept.behind)

    @property
    def scales(self) -> tuple[float | None, ...]:
        """The guidance scale of every latent frame, None for that of the request; empty where no shot has its own."""
        directions = self.making.scene.storyboard.directions if self.making else ()
        scales = [direction.guidance_scale for direction in directions]
        if self.layout is None or all(scale is None for scale in scales):
            return ()
        return (*(scales[shot] for shot in self.layout.shot_ids), *(None,) * sum(self.kept.behind))

    @property
    def loras(self) -> tuple[tuple[float, ...] | None, ...]:
        """How much of each LoRA counts in every shot, None for its multiplier; empty where no shot says so."""
        directions = self.making.scene.storyboard.directions if self.making else ()
        found = tuple(direction.lora_multiplier for direction in directions)
        return found if any(found) else ()

    def _check_loras(self) -> None:
        """Refuse multipliers of shots that have no LoRA to be for, or are not one for each."""
        model = self.base.model
        if self.loras and not model.branches:
            rule = "a shot has a `lora_multiplier` of its own, which needs LoRAs beside the weights; give branch"
            raise InputError(rule, field="lora_mode", value=model.lora_mode)
        for expert in model.experts:
            for number, given in enumerate(self.loras, 1):
                if given and expert.loras and len(given) not in (1, len(expert.loras)):
                    rule = f"shot {number} has {len(given)} of `lora_multiplier` for {len(expert.loras)} LoRAs"
                    raise InputError(rule, field=expert.name("lora_weight"))

    @property
    def deciding(self) -> dict[str, Any]:
        """What of the record decides the latents besides the settings of the base."""
        record = self.as_record()
        return {name: record[name] for name in DECIDING if name in record}

    def also(self, paths: OutputPaths) -> tuple[Target, ...]:
        """What is written besides the files of the base: every shot as a video, and the contact sheet."""
        found = []
        if self.shown.export_shots and self.layout is not None:
            shots = shot_paths(paths.video, self.layout.num_shots)
            found += [Target(f"shot {number}", path, is_our_video) for number, path in enumerate(shots, 1)]
        if self.shown.export_timeline:
            found.append(Target("timeline", paths.beside(OTIO_ENDING), is_our_otio))
            found.append(Target("EDL", paths.beside(EDL_ENDING), is_our_edl))
        if self.shown.contact_sheet:
            found.append(Target("contact sheet", paths.beside(SHEET_ENDING), is_our_png))
        return tuple(found)

    def as_record(self) -> dict[str, Any]:
        """What is added to the record of the run; `saved.py` reads it again."""
        cuts = list(self.layout.cuts) if self.layout else None
        scene: dict[str, Any] = {"title": self.title, "captions": list(self.captions), "cuts": cuts}
        if self.making is not None:
            made = self.making
            scene |= {"storyboard": made.scene.as_record(), "model": made.preset.name, "variant": made.variant}
            scene |= {"shot_mask_type": made.shot_mask_type, "held": list(self.kept.notes)}
            told = [direction.as_record() for direction in made.scene.storyboard.directions]
            scene |= {"directions": told if any(told) else []}
            scene |= self.kept.told
            scene |= {name: getattr(self.shown, name) for name in sorted(SHOWING)}
        return scene


def scene_request(
    storyboard: Storyboard,
    preset: ScenePreset,
    values: Mapping[str, Any],
    shot_mask_type: str | None = None,
    shown: Shown | None = None,
    cast: Sequence[CastShot] | None = None,
) -> SceneRequest:
    """A video to make. A value given wins over the storyboard, the storyboard over the preset.

    Args:
        storyboard: the scene.
        preset: what the model is run with where nothing else is asked for.
        values: settings by their flat names; None means not given.
        shot_mask_type: what the 17th input channel says, for checkpoints that have one.
        shown: what is shown of the shots.
        cast: that of the storyboard, where a take has it; None finds it by its files.

    Raises:
        InputError: a scene, a layout or a setting that breaks its rule.
    """
    storyboard, held = with_takes(storyboard)
    scene = plan_scene(storyboard, preset, values.get("num_frames"), values.get("fps"))
    named = frozenset(name for name in FILES if values.get(name) is not None)
    mask = shot_mask_type or mask_of(storyboard)
    settings = laid_over(film_settings(storyboard), values, preset)
    known = {**settings, "prompt": storyboard.prompt, "num_frames": scene.num_frames, "fps": scene.fps}
    if known.get("height") is None and storyboard.size is not None:
        known |= {"height": storyboard.size[0], "width": storyboard.size[1]}
    if known.get("seed") is None:
        known["seed"] = storyboard.seed
    unsettled = make_request(preset, known).putting(stem=stem_of(storyboard.source))
    base = settle(unsettled, seed_is_free=known["seed"] is None)
    layout = plan_layout(scene.num_frames, scene.num_shots, scene.cuts, base.shape.tokens_per_frame, names=scene.names)
    making = Making(scene, preset, mask, named, told_by(storyboard, values))
    title, captions = storyboard.global_caption or "", storyboard.shot_captions
    asked = SceneRequest(base, making, layout, title, captions, shown=shown or Shown())
    return keeping(asked, held, cast_shots(storyboard.cast, base.shape, storyboard.source) if cast is None else cast)


def beginning(asked: SceneRequest, begun: Begun) -> SceneRequest:
    """The video with every shot begun from another video.

    Raises:
        InputError: some of its shots are held.
    """
    if asked.kept.notes:
        raise InputError("every shot begins from it, so none comes from a take", field="video_path")
    return replace(asked, kept=asked.kept.beginning(begun))


def keeping(asked: SceneRequest, held: Sequence[HeldShot], cast: Sequence[CastShot] = ()) -> SceneRequest:
    """The video with some shots held, and with a cast, which lies behind its end.

    Raises:
        InputError: a take of another size, or a shot of another length.
    """
    if asked.layout is None or asked.making is None:
        raise ValueError("saved latents are decoded without shots")
    behind = sum(member.frames for member in cast)
    own = own_noise(asked.layout, asked.base.seed, asked.making.scene.storyboard.seeds, behind)
    if not held and len(own) == 1:
        return asked
    base = replace(asked.base, num_frames=asked.layout.num_frames + TIME_STRIDE * behind) if behind else asked.base
    return replace(asked, base=base, kept=keep(held, asked.layout, base.shape, own, cast))
