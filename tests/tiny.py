"""A complete tiny model on disk, with random weights, and the command lines that use it, or break it off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from wan2.cli.console import Console
from wan2.events import Event, FramesDecoded, Stage, StageBegan, StepTaken

DATA = Path(__file__).parent / "data"
VARIANTS = ("full", "sparse")


@dataclass(frozen=True)
class TinyModel:
    """The folder of a model laid out like the released one."""

    root: Path

    def expert(self, noise: str, variant: str = "full") -> Path:
        return self.root / variant / f"{variant}_{noise}_noise.safetensors"

    @property
    def vae(self) -> Path:
        return self.root / "Wan2.1_VAE.safetensors"

    @property
    def t5(self) -> Path:
        return self.root / "models_t5.safetensors"

    @property
    def tokenizer(self) -> Path:
        return self.root / "tokenizer"

    def flags(self, variant: str = "full") -> list[str]:
        """The flags that name every file of the model."""
        paths = {
            "dit_high_noise": self.expert("high", variant),
            "dit_low_noise": self.expert("low", variant),
            "vae": self.vae,
            "t5": self.t5,
            "tokenizer": self.tokenizer,
        }
        return [word for name, path in paths.items() for word in (f"--{name}", str(path))]


# 9 frames of 32x32 in 2 steps: less than a second on one core.
QUICK = ["--video_size", "32", "32", "--video_length", "9", "--infer_steps", "2", "--seed", "7", "--device", "cpu"]


def reacting(act: Callable[[Event], None]) -> type[Console]:
    """A console after whose events something is done."""

    class Reacting(Console):
        def event(self, event: Event, title: str = "") -> None:
            super().event(event, title)
            act(event)

    return Reacting


def at(stage: Stage, step: int, act: Callable[[], object]) -> Callable[[Event], None]:
    """What does something once, after so many steps or frames of a stage, or at 0 as it begins."""
    doing: Stage | None = None
    steps, over = 0, False

    def look(event: Event) -> None:
        nonlocal doing, steps, over
        if isinstance(event, StageBegan):
            doing, steps = event.stage, event.done
        steps += steps_of(event)
        if not over and doing is stage and steps >= step:
            over = True
            act()

    return look


def steps_of(event: Event) -> int:
    """How many steps, or frames, are done with an event."""
    return len(event.frames) if isinstance(event, FramesDecoded) else int(isinstance(event, StepTaken))


def impatient(stop: int) -> type[Console]:
    """A console that presses Ctrl-C after so many steps of anything, the frames of a video counted."""
    steps = 0

    def look(event: Event) -> None:
        nonlocal steps
        before, steps = steps, steps + steps_of(event)
        if before < stop <= steps:
            raise KeyboardInterrupt

    return reacting(look)


def write_tiny_model(root: Path) -> TinyModel:
    """Copy the reference weights into `root`; the number of heads, which shapes cannot tell, goes into the metadata."""
    model = TinyModel(root)
    for noise in ("high", "low"):
        tensors = load_file(DATA / f"dit_{noise}_noise.safetensors")
        for variant in VARIANTS:
            model.expert(noise, variant).parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, model.expert(noise, variant), {"num_heads": "4", "variant": variant})
    shutil.copy(DATA / "vae.safetensors", model.vae)
    shutil.copy(DATA / "t5.safetensors", model.t5)
    shutil.copytree(DATA / "tokenizer", model.tokenizer)
    return model


def latents_in(path: Path) -> Tensor:
    """The latents of a file."""
    return load_file(path)["latents"]


def record_of(path: Path) -> dict[str, Any]:
    """The record beside a file of a run."""
    return json.loads(path.with_suffix(".json").read_text())


# The models that the long tests can be run with: the miniature, or random weights.
MODELS = ("nano", "tiny")


def model_flags(name: str, folder: Path) -> list[str]:
    """The flags that choose one of `MODELS`; what has to be written goes into `folder`."""
    return ["--model", "nano"] if name == "nano" else write_tiny_model(folder).flags()
