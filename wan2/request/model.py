"""What a run loads: two experts with their LoRAs, text encoder, tokenizer and VAE. Opens no file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wan2.errors import InputError
from wan2.models.kernel_table import AUTO
from wan2.request.fields import Number, OneOf, Setting, check_settings, setting
from wan2.weights.sources import Lora

MULTIPLIER = Number(-100.0, 100.0)
GUIDANCE = Number(0, 100)

Noise = Literal["high", "low"]
"""Which steps an expert takes: those of much noise or the later ones."""
# How the two experts are named in flags, records and states.
EXPERT_FLAG: dict[Noise, str] = {"high": "dit_high_noise", "low": "dit_low_noise"}
SUFFIX: dict[Noise, str] = {"high": "_high_noise", "low": ""}


@dataclass(frozen=True)
class Expert:
    """One of the two transformers: the steps it takes, its file, the scale of its guidance, the LoRAs merged into it.

    Raises:
        InputError: a number outside its range.
    """

    noise: Noise
    path: Path
    guidance_scale: float
    loras: tuple[Lora, ...] = ()

    def __post_init__(self) -> None:
        GUIDANCE.check(self.name("guidance_scale"), self.guidance_scale)
        for lora in self.loras:
            MULTIPLIER.check(self.name("lora_multiplier"), lora.multiplier)

    def name(self, setting: str) -> str:
        """What a setting of both experts is called for this one."""
        return setting + SUFFIX[self.noise]

    @property
    def flag(self) -> str:
        """What its file is called."""
        return EXPERT_FLAG[self.noise]

    @property
    def merged(self) -> tuple[Lora, ...]:
        """The LoRAs that change anything: those whose multiplier is not 0."""
        return tuple(lora for lora in self.loras if lora.multiplier)


@dataclass(frozen=True)
class Model:
    """What a run loads, and how that was run where it was published.

    `round_timestep` and `vae_dtype` have no flag: timesteps are rounded to the compute dtype before they are embedded,
    or not; the VAE computes in this dtype, `auto` being the compute dtype.
    """

    experts: tuple[Expert, ...]
    vae: Path = setting(Setting("Wan2.1 VAE", decoding=True))
    t5: Path = setting(Setting("UMT5 text encoder"))
    tokenizer: Path = setting(Setting("folder with tokenizer.json"))
    dual_dit_boundary: float = setting(
        Setting("noise level (0 to 1) below which the low-noise expert takes over", Number(0, 1), decides=True)
    )
    round_timestep: bool = setting(Setting("", decides=True))
    vae_dtype: str = setting(Setting("", OneOf((AUTO, "bfloat16", "float32"))))
    lora_mode: str = setting(
        Setting(
            "merge LoRAs into the weights, or keep them beside: branch loads faster, and computes longer",
            OneOf(("merge", "branch")),
            decides=True,
        ),
        "merge",
    )
    lora_partial: bool = setting(
        Setting("leave out what a LoRA has for image-to-video or for the text encoder", decides=True), False
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.lora_partial and not any(expert.loras for expert in self.experts):
            raise InputError("needs `lora_weight` or `lora_weight_high_noise`", field="lora_partial")
        if self.branches and not any(expert.loras for expert in self.experts):
            raise InputError("needs `lora_weight` or `lora_weight_high_noise`", field="lora_mode", value=self.lora_mode)

    @property
    def branches(self) -> bool:
        """Whether LoRAs stay beside the weights."""
        return self.lora_mode == "branch"

    def expert(self, noise: Noise) -> Expert:
        """The expert that takes the steps of much noise, or the later ones."""
        return next(expert for expert in self.experts if expert.noise == noise)

    @property
    def guided(self) -> bool:
        """Whether any pass is guided; at scale 1 the negative prompt is not run."""
        return any(expert.guidance_scale != 1.0 for expert in self.experts)
