"""Which LoRAs a run merges into which expert, as its options say. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError
from wan2.request.fields import MULTIPLIERS, check_number
from wan2.request.presets import LORA_MULTIPLIER
from wan2.weights.sources import Lora

if TYPE_CHECKING:
    from wan2.request.request import Options

# Expert -> the options that name its LoRAs, and how much of each.
LORA_WEIGHTS = {"dit_high_noise": "lora_weight_high_noise", "dit_low_noise": "lora_weight"}
LORA_MULTIPLIERS = {"dit_high_noise": "lora_multiplier_high_noise", "dit_low_noise": "lora_multiplier"}


def complete_loras(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of these options among `given`, as tuples; one multiplier alone is that of all LoRAs of its expert."""
    made: dict[str, Any] = {}
    for expert, weights in LORA_WEIGHTS.items():
        multipliers = LORA_MULTIPLIERS[expert]
        paths, numbers = (tuple(given.get(name) or ()) for name in (weights, multipliers))
        if paths and len(numbers) < 2:
            numbers = (numbers or (LORA_MULTIPLIER,)) * len(paths)
        made |= {weights: paths, multipliers: numbers}
    return made


def check_multipliers(options: Options) -> None:
    """Refuse multipliers that are not one for each LoRA, or no sound number.

    Raises:
        InputError: with the option, the multipliers and the rule.
    """
    for expert, weights in LORA_WEIGHTS.items():
        name = LORA_MULTIPLIERS[expert]
        count, numbers = len(getattr(options, weights)), getattr(options, name)
        for number in numbers:
            check_number(f"--{name}", number, *MULTIPLIERS, whole=False)
        if numbers and not count:
            raise InputError(f"--{name} {_listed(numbers)}: needs --{weights}")
        if len(numbers) != count:
            raise InputError(
                f"--{name} {_listed(numbers)}: {len(numbers)} for {count} of --{weights}; give one for each, or one "
                "for all"
            )


def loras_of(options: Options, expert: str) -> tuple[Lora, ...]:
    """The LoRAs that are merged into an expert, named by its flag; those of multiplier 0 are not."""
    return tuple(lora for lora in named_loras(options, expert) if lora.multiplier)


def named_loras(options: Options, expert: str) -> tuple[Lora, ...]:
    """The LoRAs that the options name for an expert."""
    paths: tuple[Path, ...] = getattr(options, LORA_WEIGHTS[expert])
    return tuple(map(Lora, paths, getattr(options, LORA_MULTIPLIERS[expert])))


def lora_files(options: Options) -> dict[str, tuple[Path, ...]]:
    """The LoRA files of a run under the names of the options that name them, where there are any."""
    return {name: paths for name in LORA_WEIGHTS.values() if (paths := getattr(options, name))}


def told_loras(options: Options) -> str:
    """The LoRAs of both experts in words; empty where there are none."""
    if not lora_files(options):
        return ""
    told = []
    for noise, expert in (("high", "dit_high_noise"), ("low", "dit_low_noise")):
        names = (f"{path.name} x {multiplier:g}" for path, multiplier in named_loras(options, expert))
        told.append(f"{noise}-noise expert {', '.join(names) or 'none'}")
    return "; ".join(told)


def _listed(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
