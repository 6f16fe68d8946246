"""The one table of default numbers of HoloCine and of the embedded miniature. Loads nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wan2.request.presets import FEWER_PASSES, WAN22_T2V, ModelFiles, Preset

VARIANTS = ("full", "sparse")
DEFAULT_VARIANT = "full"
DEFAULT_MODEL = "holocine"

# What the released weights were trained on; beyond it a run is warned, not refused.
TRAINED_FRAMES = 241
TRAINED_SHOTS = 13

_HOLOCINE_DIT = Path("checkpoints/HoloCine_dit")
_NANO = Path(__file__).resolve().parent / "nano"


def _files(base: ModelFiles, experts: Path, variant: str) -> ModelFiles:
    """The files of `base` with the two experts of one variant."""
    return replace(
        base,
        dit_high_noise=experts / variant / f"{variant}_high_noise.safetensors",
        dit_low_noise=experts / variant / f"{variant}_low_noise.safetensors",
    )


def _holocine(variant: str) -> Preset:
    """The released weights at the settings they were published with."""
    return Preset(
        name="holocine",
        files=_files(WAN22_T2V.files, _HOLOCINE_DIT, variant),
        height=480,
        width=832,
        num_frames=241,
        fps=15.0,
        infer_steps=50,
        sample_solver="euler",
        flow_shift=5.0,
        guidance_scale=5.0,
        guidance_scale_high_noise=5.0,
        dual_dit_boundary=0.875,
        round_timestep=True,
        vae_dtype="auto",
        published=WAN22_T2V.published,
    )


def _nano(variant: str) -> Preset:
    """The miniature in `nano/`, part of this package: real file formats, the same code, seconds on any machine."""
    base = _NANO / "Wan2.2-T2V-A14B"
    shared = replace(
        WAN22_T2V.files,
        vae=base / "Wan2.1_VAE.safetensors",
        t5=base / "models_t5_umt5-nano.safetensors",
        tokenizer=base / "tokenizer",
    )
    return replace(
        _holocine(variant),
        name="nano",
        files=_files(shared, _NANO / "HoloCine_dit", variant),
        height=64,
        width=64,
        num_frames=33,
        fps=8.0,
        published=None,
        infer_steps=20,
        guidance_scale=3.0,
        guidance_scale_high_noise=3.0,
        recipes={**WAN22_T2V.recipes, "draft": {"infer_steps": 12, **FEWER_PASSES}},
    )


MODELS: dict[str, dict[str, Preset]] = {
    "holocine": {variant: _holocine(variant) for variant in VARIANTS},
    "nano": {variant: _nano(variant) for variant in VARIANTS},
}
"""Model name -> variant -> preset."""
