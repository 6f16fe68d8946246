"""The one table of default numbers of the base model. Knows nothing of argument parsing and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wan2.models.config import TransformerConfig

# The negative prompt that Wan2.2 publishes; the trained weights expect this very text.
NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，"
    "静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)

# How often a run saves its state when it is not told: by the clock, not by steps.
SAVE_SECONDS = 60.0

# How much of a LoRA is merged in when nobody says.
LORA_MULTIPLIER = 1.0

WAN_FOLDER = Path("checkpoints/Wan2.2-T2V-A14B")

A14B = TransformerConfig(
    dim=5120,
    in_dim=16,
    ffn_dim=13824,
    out_dim=16,
    text_dim=4096,
    freq_dim=256,
    eps=1e-6,
    patch_size=(1, 2, 2),
    num_heads=40,
    num_layers=40,
)


@dataclass(frozen=True)
class ModelFiles:
    """The five things a run loads: two experts, the VAE, the text encoder and the tokenizer's folder."""

    dit_high_noise: Path
    dit_low_noise: Path
    vae: Path
    t5: Path
    tokenizer: Path


# What `--preset` fills in, for each model its own. Quality is how the weights were published; a draft shows what a
# scene will be in a third of the passes; lightning is for experts that were distilled to 8 steps without guidance.
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
    """Every default of a command line; sizes in pixels, lengths in frames, `fps` in frames per second.

    `round_timestep` and `vae_dtype` have no flag: they are how the model was run where it was published. Timesteps are
    rounded to the compute dtype before they are embedded, or not; the VAE computes in this dtype, `auto` being the
    compute dtype. `published` are the sizes of the transformers, where they can be known without the files. `recipes`
    are what `--preset` fills in, by its name.
    """

    name: str
    files: ModelFiles
    height: int
    width: int
    num_frames: int
    fps: float
    infer_steps: int
    sample_solver: str
    flow_shift: float
    guidance_scale: float
    guidance_scale_high_noise: float
    dual_dit_boundary: float
    round_timestep: bool
    vae_dtype: str
    cfg_skip: float = 0.0
    step_cache: float = 0.0
    negative_prompt: str = NEGATIVE_PROMPT
    device: str = "auto"
    dtype: str = "auto"
    attn_mode: str = "auto"
    compile: bool = False
    blocks_to_swap: int | str = "auto"
    weights_from: str = "disk"
    vram_budget: float = 0.0
    tile_height: int = 0
    tile_width: int = 0
    preview: int = 0
    save_every: int = 0
    output_type: str = "video"
    save_path: Path = Path("outputs")
    crf: int = 16
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
    files=ModelFiles(
        dit_high_noise=WAN_FOLDER / "wan2.2_t2v_high_noise_14B_fp16.safetensors",
        dit_low_noise=WAN_FOLDER / "wan2.2_t2v_low_noise_14B_fp16.safetensors",
        vae=WAN_FOLDER / "Wan2.1_VAE.pth",
        t5=WAN_FOLDER / "models_t5_umt5-xxl-enc-bf16.pth",
        tokenizer=WAN_FOLDER / "google/umt5-xxl",
    ),
    height=720,
    width=1280,
    num_frames=81,
    fps=16.0,
    infer_steps=40,
    sample_solver="unipc",
    flow_shift=12.0,
    guidance_scale=3.0,
    guidance_scale_high_noise=4.0,
    dual_dit_boundary=0.875,
    round_timestep=False,
    vae_dtype="float32",
    published=A14B,
)
