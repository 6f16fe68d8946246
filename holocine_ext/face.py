"""What a program asks for, in one record: the face of the library. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holocine_ext.plan import Plan, plan_video
from holocine_ext.presets import ScenePreset
from holocine_ext.request import SceneRequest, Shown, scene_request
from holocine_ext.story.storyboard import Storyboard
from wan2.plan.files import Files
from wan2.request.cards import Cards
from wan2.request.compute import Compute
from wan2.request.fields import settings_of
from wan2.request.output import Output
from wan2.request.sampling import Sampling


@dataclass(frozen=True)
class Request:
    """One scene to make. What is None comes from the storyboard, else from the model's preset.

    Attributes:
        scene: the storyboard.
        model: one of `models`, such as `models["holocine"]["sparse"]`.
        seed: the same seed makes the same video; drawn and recorded when neither this nor the storyboard gives one.
        size: height and width in pixels, multiples of 16.
        num_frames: the length, snapped to the nearest 4t+1.
        fps: frames per second.
        negative_prompt: what to avoid.
        guidance_scale: of both experts; 1 is off.
        sampling: steps, schedule and solver.
        compute: device, precision and memory.
        cards: how many cards work on it, and how they share it.
        output: what is written, and where.
        shown: contact sheet and videos of single shots.
        shot_mask_type: what the 17th input channel says, for checkpoints that have one.
        resume: the state to go on from; `Path()` finds the one next to the output.
    """

    scene: Storyboard
    model: ScenePreset
    seed: int | None = None
    size: tuple[int, int] | None = None
    num_frames: int | None = None
    fps: float | None = None
    negative_prompt: str | None = None
    guidance_scale: float | None = None
    sampling: Sampling | None = None
    compute: Compute = Compute()
    cards: Cards = Cards()
    output: Output = Output()
    shown: Shown = Shown()
    shot_mask_type: str | None = None
    resume: Path | None = None

    def settled(self) -> SceneRequest:
        """The request with everything that was left open.

        Raises:
            InputError: a value that breaks its rule, with the field, the value and the rule.
        """
        values: dict[str, Any] = {"seed": self.seed, "num_frames": self.num_frames, "fps": self.fps}
        values |= {"negative_prompt": self.negative_prompt, "guidance_scale": self.guidance_scale}
        values |= {"resume": self.resume}
        if self.size is not None:
            values |= {"height": self.size[0], "width": self.size[1]}
        for record in (self.sampling, self.compute, self.cards, self.output):
            if record is not None:
                values |= {name: getattr(record, name) for name, _ in settings_of(record)}
        return scene_request(self.scene, self.model, values, self.shot_mask_type, self.shown)

    def plan(self, files: Files | None = None) -> Plan:
        """What is found out before anything loads. `files`: shared by plans that are made together.

        Raises:
            InputError: what would make the run fail, or destroy what is not its own.
        """
        return plan_video(self.settled(), files)
