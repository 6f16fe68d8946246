"""The one table of default numbers of HoloCine and of the embedded miniature. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from wan2.request.model import Expert, Model, Noise
from wan2.request.presets import CHECKPOINTS, FEWER_PASSES, WAN22_T2V, Preset
from wan2.request.sampling import Sampling

VARIANTS = ("full", "sparse")
DEFAULT_VARIANT = "full"
DEFAULT_MODEL = "holocine"

# What the released weights were trained on; beyond it a run is warned, not refused.
TRAINED_FRAMES = 241
TRAINED_SHOTS = 13

_HOLOCINE_DIT = CHECKPOINTS / "HoloCine_dit"
_NANO = Path(__file__).resolve().parent / "nano"


@dataclass(frozen=True)
class Trained:
    """What weights were trained on at most: frames, shots, and the pixels of a picture."""

    frames: int = TRAINED_FRAMES
    shots: int = TRAINED_SHOTS
    width: int = 832
    height: int = 480


@dataclass(frozen=True)
class ScenePreset(Preset):
    """A preset of one variant: `full` or `sparse` self-attention between shots."""

    variant: str = DEFAULT_VARIANT
    trained: Trained = Trained()


def _model(base: Model, experts: Path, variant: str, guidance_scale: float) -> Model:
    """The model of `base` with the two experts of one variant."""
    noises: tuple[Noise, ...] = ("high", "low")
    paths = {noise: experts / variant / f"{variant}_{noise}_noise.safetensors" for noise in noises}
    made = tuple(Expert(noise, path, guidance_scale) for noise, path in paths.items())
    return replace(base, experts=made, round_timestep=True, vae_dtype="auto")


def _holocine(variant: str) -> ScenePreset:
    """The released weights at the settings they were published with."""
    return ScenePreset(
        name="holocine",
        variant=variant,
        model=_model(WAN22_T2V.model, _HOLOCINE_DIT, variant, guidance_scale=5.0),
        sampling=Sampling(infer_steps=50, flow_shift=5.0, sample_solver="euler"),
        height=480,
        width=832,
        num_frames=241,
        fps=15.0,
        published=WAN22_T2V.published,
    )


def _nano(variant: str) -> ScenePreset:
    """The miniature in `nano/`: same file formats and the same code, in seconds on any machine."""
    base, whole = _NANO / "Wan2.2-T2V-A14B", _holocine(variant)
    shared = replace(
        WAN22_T2V.model,
        vae=base / "Wan2.1_VAE.safetensors",
        t5=base / "models_t5_umt5-nano.safetensors",
        tokenizer=base / "tokenizer",
    )
    return replace(
        whole,
        name="nano",
        model=_model(shared, _NANO / "HoloCine_dit", variant, guidance_scale=3.0),
        sampling=replace(whole.sampling, infer_steps=20),
        height=64,
        width=64,
        num_frames=33,
        fps=8.0,
        published=None,
        trained=Trained(frames=97, shots=6, width=64, height=64),
        recipes={**WAN22_T2V.recipes, "draft": {"infer_steps": 12, **FEWER_PASSES}},
    )


MODELS: dict[str, dict[str, ScenePreset]] = {
    "holocine": {variant: _holocine(variant) for variant in VARIANTS},
    "nano": {variant: _nano(variant) for variant in VARIANTS},
}
"""Model name -> variant -> preset."""
