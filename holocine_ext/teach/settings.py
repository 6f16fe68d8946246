"""What is asked of a training: how adapters learn, and what is watched meanwhile. Checked; loads nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holocine_ext.presets import ScenePreset
from wan2.errors import InputError
from wan2.request.fields import Number, OneOf, Setting, check_settings, setting
from wan2.request.output import LATENT_SUFFIX
from wan2.request.request import Request
from wan2.training.adapter_table import TARGETS
from wan2.training.packages import OPTIMISERS, SCHEDULES

MOST_WARMUP = 50
STATE, BEST = ".state.safetensors", "_best.safetensors"
"""Endings of the state of a training, and of the LoRA that held-out clips liked best."""
EXPERTS = ("both", "high", "low")


@dataclass(frozen=True)
class Teaching:
    """How adapters learn. Everything here decides the result."""

    steps: int = setting(Setting("steps of each expert", Number(1, 1_000_000, whole=True)), 1000)
    learning_rate: float = setting(Setting("learning rate", Number(1e-9, 1)), 2e-4)
    rank: int = setting(Setting("rank of the LoRA", Number(1, 1024, whole=True)), 32)
    alpha: float | None = setting(Setting("alpha of the LoRA, the rank unless given", Number(1e-6, 1e6)), None)
    targets: tuple[str, ...] = setting(
        Setting(f"what is adapted in both attentions and the feed-forward, of {', '.join(TARGETS)}"), tuple(TARGETS)
    )
    batch: int = setting(Setting("clips of a step", Number(1, 4096, whole=True)), 1)
    warmup: int | None = setting(
        Setting("steps in which the rate rises, a tenth but at most 50 unless given", Number(0, 1_000_000, whole=True)),
        None,
    )
    schedule: str = setting(Setting("how the rate goes on from there", OneOf(SCHEDULES)), "constant")
    optimiser: str = setting(Setting("adamw8bit needs the extra bitsandbytes", OneOf(OPTIMISERS)), "adamw")
    weight_decay: float = setting(Setting("weight decay", Number(0, 10)), 0.01)
    max_norm: float = setting(Setting("longest gradient; longer ones are shortened", Number(1e-6, 1e6)), 1.0)
    ema: float = setting(Setting("decay of the average that is written, 0 for none", Number(0, 0.99999)), 0.0)
    caption_dropout: float = setting(Setting("share of clips that are shown without a prompt", Number(0, 1)), 0.1)
    seed: int = setting(Setting("same seed, same LoRA", Number(0, 2**63 - 1, whole=True)), 0)

    def __post_init__(self) -> None:
        values = dict(vars(self))
        if self.alpha is None:
            object.__setattr__(self, "alpha", float(self.rank))
        if self.warmup is None:
            object.__setattr__(self, "warmup", min(MOST_WARMUP, self.steps // 10))
        check_settings(self)
        if odd := [target for target in values["targets"] if target not in TARGETS]:
            raise InputError(f"must be of {', '.join(TARGETS)}", field="targets", value=odd[0])
        if not self.targets or len(set(self.targets)) != len(self.targets):
            raise InputError("must be named once each", field="targets", value=" ".join(self.targets) or "''")
        if self.warmup is not None and self.warmup > self.steps:
            raise InputError(f"must be at most `steps` {self.steps}", field="warmup", value=self.warmup)


@dataclass(frozen=True)
class Watching:
    """What is written and looked at while adapters learn. Nothing here decides the result."""

    save_path: Path = setting(
        Setting("out/NAME: two files, NAME_high_noise.safetensors and NAME_low_noise.safetensors")
    )
    experts: str = setting(Setting("which experts are trained", OneOf(EXPERTS)), "both")
    held_out: int = setting(Setting("clips that are not trained on", Number(0, 10_000, whole=True)), 0)
    validate_every: int = setting(
        Setting("steps between two looks at held-out clips, 0 for none", Number(0, 1_000_000, whole=True)), 0
    )
    films: int = setting(Setting("held-out boards that are made into films at every look", Number(0, 1000)), 0)
    save_every: int = setting(
        Setting("save the state every N steps, 0 for once a minute", Number(0, 1_000_000, whole=True)), 0
    )
    offload_inputs: bool = setting(Setting("keep the inputs of blocks in pinned host memory"), False)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.save_path.suffix == LATENT_SUFFIX:
            raise InputError("is a name for two files, without an ending", field="save_path", value=self.save_path)
        if bool(self.validate_every) != bool(self.held_out):
            field = "validate_every" if self.validate_every else "held_out"
            other = "held_out" if self.validate_every else "validate_every"
            raise InputError(f"needs `{other}`, too", field=field, value=getattr(self, field))
        if self.films > self.held_out:
            raise InputError(f"must be at most `held_out` {self.held_out}", field="films", value=self.films)

    def file(self, noise: str, ending: str = LATENT_SUFFIX) -> Path:
        """A file of an expert."""
        return self.save_path.with_name(f"{self.save_path.name}_{noise}_noise{ending}")

    @property
    def record(self) -> Path:
        """What was asked for and how it went."""
        return self.save_path.with_name(f"{self.save_path.name}.json")

    @property
    def noises(self) -> tuple[str, ...]:
        """The experts, in the order in which they are trained."""
        return ("high", "low") if self.experts == "both" else (self.experts,)


@dataclass(frozen=True)
class Job:
    """A training, checked.

    preset, request: the model and how it computes. data: the folder of clips. teaching, watching: what was asked.
    """

    preset: ScenePreset
    request: Request
    data: Path
    teaching: Teaching
    watching: Watching
    resume: bool = False

    @property
    def sparse(self) -> bool:
        """Whether self-attention is sparse between shots."""
        return self.preset.variant == "sparse"


def settings_of(job: Job) -> dict[str, Any]:
    """The settings that decide the result, as JSON values."""
    return {**asdict(job.teaching), "variant": job.preset.variant, "flow_shift": job.request.sampling.flow_shift}
