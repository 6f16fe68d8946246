"""What each model is run with where nothing else is asked for: requests in part. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wan2.models.config import A14B, TransformerConfig
from wan2.request.model import Expert, Model
from wan2.request.sampling import Sampling

# How often a run saves its state when nothing else is asked for: by the clock, not by steps.
SAVE_SECONDS = 60.0

# How much of a LoRA is merged in when nobody says.
LORA_MULTIPLIER = 1.0

CHECKPOINTS = Path("checkpoints")
# What `download` calls the files of this model.
BASE = "base"
WAN_FOLDER = CHECKPOINTS / "Wan2.2-T2V-A14B"

RECIPES = ("quality", "draft", "lightning")
# Quality is how the weights were published; a draft shows what a scene will be in a third of the passes; lightning is
# for experts that were distilled to 8 steps without guidance.
LIGHTNING = {
    "infer_steps": 8,
    "sample_solver": "euler",
    "flow_shift": 5.0,
    "guidance_scale": 1.0,
    "guidance_scale_high_noise": 1.0,
}
FEWER_PASSES = {"cfg_skip": 0.3, "step_cache": 0.1}


@dataclass(frozen=True)
class Preset:
    """The part of a request that depends on the model; sizes in pixels, lengths in frames, `fps` in frames per second.

    `published` are the sizes of the transformers, where they can be known without the files. `recipes` are what
    `--preset` fills in, by its name.
    """

    name: str
    model: Model
    sampling: Sampling
    height: int
    width: int
    num_frames: int
    fps: float
    published: TransformerConfig | None = None
    recipes: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {
            "quality": {},
            "draft": {"infer_steps": 25, **FEWER_PASSES},
            "lightning": LIGHTNING,
        }
    )


WAN22_T2V = Preset(
    name="wan2.2-t2v",
    model=Model(
        experts=(
            Expert("high", WAN_FOLDER / "wan2.2_t2v_high_noise_14B_fp16.safetensors", guidance_scale=4.0),
            Expert("low", WAN_FOLDER / "wan2.2_t2v_low_noise_14B_fp16.safetensors", guidance_scale=3.0),
        ),
        vae=WAN_FOLDER / "Wan2.1_VAE.pth",
        t5=WAN_FOLDER / "models_t5_umt5-xxl-enc-bf16.pth",
        tokenizer=WAN_FOLDER / "google/umt5-xxl",
        dual_dit_boundary=0.875,
        round_timestep=False,
        vae_dtype="float32",
    ),
    sampling=Sampling(infer_steps=40, flow_shift=12.0, sample_solver="unipc"),
    height=720,
    width=1280,
    num_frames=81,
    fps=16.0,
    published=A14B,
)
