"""Everything one run is told, in one frozen record that is checked once. Knows nothing of argument parsing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.models.kernel_table import AUTO, check_kernel
from wan2.request.fields import (
    CHOICES,
    DEVICE,
    RANGES,
    WHOLE,
    check_choice,
    check_multiple,
    check_number,
    check_text,
    flag_of,
)
from wan2.request.loras import LORA_WEIGHTS, check_multipliers, complete_loras
from wan2.request.presets import A14B, ModelFiles, Preset
from wan2.shapes import VideoShape, snap_frames

RECIPES = ("quality", "draft", "lightning")
VIDEO_SUFFIX = ".mp4"
LATENT_SUFFIX = ".safetensors"

# The flags that still mean something when saved latents are only decoded, and what the latents say themselves.
DECODE_FLAGS = frozenset({"latent_path", "vae", "fps", "device", "dtype", "output_type", "save_path", "no_metadata"})
DECODE_FLAGS |= {"vram_budget", "tile_height", "tile_width", "vae_cache_cpu", "overwrite"}
DECODE_SIZES = frozenset({"height", "width", "num_frames", "crf", "vae_dtype"})

# Options of the command, not of the run: no state and no record holds them.
OF_ONE_COMMAND = ("resume", "overwrite")

RANDOM_SEED_BYTES = 4
# `--resume` without a path: the state beside the output.
BESIDE = Path()


@dataclass(frozen=True, kw_only=True)
class Options:
    """One run. Sizes in pixels, lengths in frames, `fps` in frames per second; `num_frames` is the length asked for.

    `round_timestep` and `vae_dtype` are the model's: see `Preset`.

    Raises:
        InputError: a value breaks its rule; the message names the flag, the value and the rule.
    """

    files: ModelFiles
    prompt: str
    negative_prompt: str
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
    cfg_skip: float
    step_cache: float
    seed: int
    device: str
    dtype: str
    attn_mode: str
    compile: bool
    blocks_to_swap: int | str
    weights_from: str
    vram_budget: float
    tile_height: int
    tile_width: int
    preview: int
    save_every: int
    output_type: str
    save_path: Path
    crf: int
    passes_apart: bool = False
    vae_cache_cpu: bool = False
    fp8_scaled: bool = False
    fp8_fast: bool = False
    fp8_cache: bool = False
    fp8_t5: bool = False
    no_metadata: bool = False
    overwrite: bool = False
    lora_weight: tuple[Path, ...] = ()
    lora_multiplier: tuple[float, ...] = ()
    lora_weight_high_noise: tuple[Path, ...] = ()
    lora_multiplier_high_noise: tuple[float, ...] = ()
    latent_path: Path | None = None
    resume: Path | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            check_number(flag_of(name), getattr(self, name), low, high, whole=name in WHOLE)
        for name in ("height", "width", "tile_height", "tile_width"):
            check_multiple(flag_of(name), name.removeprefix("tile_"), getattr(self, name))
        for name, choices in CHOICES.items():
            check_choice(flag_of(name), getattr(self, name), choices)
        if not DEVICE.fullmatch(self.device):
            raise InputError(f"--device {self.device}: must be auto, cpu, mps, cuda or one card such as cuda:1")
        if self.blocks_to_swap != AUTO:
            check_number("--blocks_to_swap", self.blocks_to_swap, 0, A14B.num_layers, whole=True)
        if self.cfg_skip and not self.guided:
            raise InputError(f"--cfg_skip {self.cfg_skip}: with --guidance_scale 1 there is no negative pass to skip")
        for check in (self.check_device, self.check_fp8, self.check_vae):
            check(self.device.partition(":")[0])
        check_multipliers(self)
        check_text("--prompt", self.prompt)
        check_text("--negative_prompt", self.negative_prompt)
        if not self.prompt.strip() and self.latent_path is None:
            raise InputError("--prompt '': must not be empty")
        self._check_outputs()

    def check_device(self, device: str) -> None:
        """Refuse what cannot be on a device, or helps nobody there. device: cpu, cuda or mps, or auto.

        Raises:
            InputError: with the combination that is refused.
        """
        check_kernel(self.attn_mode, device)
        if self.compile and device == "mps":
            raise InputError("--compile: compiles for --device cuda or cpu, not mps")
        blocks, ram = self.blocks_to_swap, self.weights_from == "ram"
        if ram and blocks == 0:
            raise InputError("--weights_from ram: with --blocks_to_swap 0 no block waits anywhere")
        if ram and device in ("cpu", "mps"):
            raise InputError(f"--weights_from ram: on --device {device} the weights are in memory without it; use disk")
        if blocks not in (AUTO, 0) and device == "mps":
            raise InputError(f"--blocks_to_swap {blocks}: streams to --device cuda or cpu, not {device}")
        if self.passes_apart and not self.guided:
            raise InputError("--passes_apart: with --guidance_scale 1 there is one pass only")
        if self.passes_apart and (blocks == 0 or device == "mps"):
            raise InputError("--passes_apart: is for streamed blocks; where none are, passes run apart without it")

    def check_fp8(self, device: str) -> None:
        """Refuse fp8 where it cannot be, or has nothing to do. device: cpu, cuda or mps, or auto.

        Raises:
            InputError: with the combination that is refused.
        """
        if self.fp8_cache and not self.quantises:
            raise InputError("--fp8_cache: keeps what --fp8_scaled or --fp8_fast makes; give one of them")
        if device == "mps" and (self.quantises or self.fp8_t5):
            flag = next(name for name in ("fp8_scaled", "fp8_fast", "fp8_t5") if getattr(self, name))
            raise InputError(f"--{flag}: needs a cuda device or a processor; --device mps has no fp8")
        wide = ("float32", "float16") if device == "cuda" else ("float16",)
        if self.fp8_fast and self.dtype in wide:
            raise InputError(f"--fp8_fast: multiplies fp8 into bfloat16, not into --dtype {self.dtype}")

    def check_vae(self, device: str) -> None:
        """Refuse to keep the VAE's cache where it is anyway. device: cpu, cuda or mps, or auto.

        Raises:
            InputError: with the combination that is refused.
        """
        if self.vae_cache_cpu and device == "cpu":
            raise InputError("--vae_cache_cpu: on --device cpu the cache is in host memory without it")
        for name in ("vae_cache_cpu", "tile_height", "tile_width"):
            if getattr(self, name) and not self.decodes:
                raise InputError(f"{flag_of(name)}: with --output_type {self.output_type} nothing is decoded")

    def _check_outputs(self) -> None:
        suffix = self.save_path.suffix
        if self.latent_path is not None and self.writes_latents:
            raise InputError(f"--output_type {self.output_type}: --latent_path only decodes, to video or images")
        allowed = (LATENT_SUFFIX,) if self.output_type == "latent" else (VIDEO_SUFFIX,)
        if suffix and suffix not in allowed and not self.save_path.is_dir():
            raise InputError(f"--save_path {self.save_path}: must be a folder or end in {allowed[0]}")

    @property
    def shape(self) -> VideoShape:
        """Size of the video that is made: the length snaps to the latent grid."""
        return VideoShape(snap_frames(self.num_frames), self.height, self.width)

    @property
    def writes_latents(self) -> bool:
        """Whether the latents are kept as a file."""
        return self.output_type in ("latent", "both")

    @property
    def writes_video(self) -> bool:
        """Whether an mp4 is written."""
        return self.output_type in ("video", "both")

    @property
    def decodes(self) -> bool:
        """Whether the VAE is needed."""
        return self.output_type != "latent"

    @property
    def quantises(self) -> bool:
        """Whether linears of the transformers that are not in fp8 are brought to it."""
        return self.fp8_scaled or self.fp8_fast

    @property
    def guided(self) -> bool:
        """Whether any pass is guided; at scale 1 the negative prompt is not run."""
        return (self.guidance_scale, self.guidance_scale_high_noise) != (1.0, 1.0)

    def as_record(self) -> dict[str, Any]:
        """The options as plain JSON values, under the names of this record.

        Of absolute paths only the last part: a record travels inside the video, and folders tell who made it.
        """
        return {name: _plain(value) for name, value in asdict(self).items() if name not in OF_ONE_COMMAND}


def make_options(preset: Preset, given: Mapping[str, Any]) -> Options:
    """The preset's values, overridden by those given (None means not given), as checked options.

    `given` may hold any field of `Options` and any of `ModelFiles`, and `preset`, the name of a recipe that fills in
    what is not given. A guidance scale given alone serves both experts, a multiplier given alone all LoRAs of its
    expert. Without a seed one is drawn, and recorded like any other.

    Raises:
        InputError: a value breaks its rule.
    """
    known = {name: value for name, value in given.items() if value is not None}
    if "guidance_scale" in known:
        known.setdefault("guidance_scale_high_noise", known["guidance_scale"])
    if (recipe := known.pop("preset", None)) is not None:
        known = {**_recipe(preset, recipe, known), **known}
    if "seed" not in known:
        known["seed"] = int.from_bytes(os.urandom(RANDOM_SEED_BYTES))
    file_names = {field.name for field in fields(ModelFiles)}
    files = replace(preset.files, **{name: Path(known.pop(name)) for name in file_names & known.keys()})
    names = {field.name for field in fields(Options)}
    defaults = {field.name: getattr(preset, field.name) for field in fields(Preset) if field.name in names}
    return Options(**{"prompt": "", **defaults, "files": files, **known, **complete_loras(known)})


def _recipe(preset: Preset, name: str, known: Mapping[str, Any]) -> Mapping[str, Any]:
    check_choice("--preset", name, RECIPES)
    if name == "lightning" and not all({expert, lora} & known.keys() for expert, lora in LORA_WEIGHTS.items()):
        raise InputError(
            "--preset lightning: needs two experts that are distilled to few steps; give a LoRA of that kind for each, "
            "by --lora_weight_high_noise and --lora_weight, or such experts, by --dit_high_noise and --dit_low_noise"
        )
    filled = dict(preset.recipes[name])
    if (known.get("guidance_scale"), known.get("guidance_scale_high_noise")) == (1, 1):
        filled.pop("cfg_skip", None)
    return filled


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path):
        return value.name if value.is_absolute() else value.as_posix()
    return value
