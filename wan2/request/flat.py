"""A request under flat names, those of flags, records and states; and back again. Opens no file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from wan2.errors import InputError
from wan2.request.cards import Cards
from wan2.request.compute import Compute
from wan2.request.fields import Number, OneOf, Pixels, Setting, settings_of
from wan2.request.model import EXPERT_FLAG, GUIDANCE, MULTIPLIER, SUFFIX, Expert, Model, Noise
from wan2.request.output import Output
from wan2.request.presets import LORA_MULTIPLIER, RECIPES, Preset
from wan2.request.request import Request
from wan2.request.sampling import Sampling
from wan2.weights.sources import Lora

RANDOM_SEED_BYTES = 4
# Settings of the command, not of the run: no state and no record holds them.
OF_ONE_COMMAND = ("resume", "overwrite", "gpus", "parallel")
# What a model loads, which records and states keep in a table of its own.
FILES = (*EXPERT_FLAG.values(), "vae", "t5", "tokenizer")
RECORDS: tuple[type, ...] = (Request, Model, Sampling, Compute, Cards, Output)
# What is said of each expert.
OF_EXPERT: dict[str, tuple[Any, Setting]] = {
    "guidance_scale": (float, Setting("", GUIDANCE, decides=True)),
    "lora_weight": (tuple[Path, ...], Setting("")),
    "lora_multiplier": (tuple[float, ...], Setting("", decides=True)),
}


def _settings() -> Iterator[tuple[str, Setting]]:
    for record in RECORDS:
        yield from settings_of(record)
    for suffix in SUFFIX.values():
        yield from ((name + suffix, about) for name, (_, about) in OF_EXPERT.items())
    yield from ((flag, Setting("")) for flag in EXPERT_FLAG.values())


SETTINGS: dict[str, Setting] = dict(_settings())
"""Every setting of a request, by its flat name."""


RANGES: dict[str, tuple[float, float]] = {
    name: (about.rule.low, about.rule.high)
    for name, about in SETTINGS.items()
    if isinstance(about.rule, Number | Pixels)
}
"""Lowest and highest value of every number."""


@cache
def setting_types() -> dict[str, Any]:
    """The type of every setting, by its flat name."""
    found = {name: kind for record in RECORDS for name, kind in get_type_hints(record).items() if name in SETTINGS}
    for suffix in SUFFIX.values():
        found |= {name + suffix: kind for name, (kind, _) in OF_EXPERT.items()}
    return found | dict.fromkeys(EXPERT_FLAG.values(), Path)


def flat_values(request: Request) -> dict[str, Any]:
    """Every setting of a request, by its flat name."""
    found: dict[str, Any] = {}
    for part in (request, request.model, request.sampling, request.compute, request.cards, request.output):
        found |= {name: getattr(part, name) for name, _ in settings_of(part)}
    return found | _of_experts(request.model)


def preset_values(preset: Preset) -> dict[str, Any]:
    """Every default that depends on the model, by its flat name."""
    found: dict[str, Any] = {name: getattr(preset, name) for name in ("height", "width", "num_frames", "fps")}
    for part in (preset.model, preset.sampling):
        found |= {name: getattr(part, name) for name, _ in settings_of(part)}
    return found | _of_experts(preset.model)


def _of_experts(model: Model) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for expert in model.experts:
        found[expert.flag] = expert.path
        found[expert.name("guidance_scale")] = expert.guidance_scale
        found[expert.name("lora_weight")] = tuple(lora.path for lora in expert.loras)
        found[expert.name("lora_multiplier")] = tuple(lora.multiplier for lora in expert.loras)
    return found


def plain_values(request: Request, *, whole_paths: bool) -> dict[str, Any]:
    """The settings as JSON values, those of a run only; model files in a table of their own.

    whole_paths: absolute, for a state, which may be found from another folder; else of absolute paths only the last
    part, for a record, which travels inside the video: folders tell who made it.
    """
    values = {name: _plain(value, whole_paths) for name, value in flat_values(request).items()}
    files = {name: values.pop(name) for name in FILES}
    return {"files": files, **{name: value for name, value in values.items() if name not in OF_ONE_COMMAND}}


def plain_defaults() -> dict[str, Any]:
    """What the settings of a run are, as JSON values, where they are the same for every model and nobody set them."""
    fields = (field for record in RECORDS for field in dataclasses.fields(record) if field.name in SETTINGS)
    found = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    return {name: _plain(value, whole=True) for name, value in found.items() if name not in OF_ONE_COMMAND}


def _plain(value: object, whole: bool) -> object:
    if isinstance(value, tuple):
        return [_plain(inner, whole) for inner in value]
    if isinstance(value, Path):
        shown = value.absolute() if whole else Path(value.name) if value.is_absolute() else value
        return str(shown) if whole else shown.as_posix()
    return value


def typed(name: str, value: object) -> Any:  # noqa: ANN401
    """A JSON value as the setting of that name has it.

    Raises:
        msgspec.ValidationError: it is of another type.
    """
    return msgspec.convert(value, setting_types()[name], strict=True, dec_hook=_path)


def _path(kind: type, value: object) -> object:
    if kind is not Path or not isinstance(value, str):
        raise TypeError(f"{value!r} is no path")
    return Path(value)


def make_request(preset: Preset, given: Mapping[str, Any]) -> Request:
    """The preset's values, overridden by those given (None means not given), as a checked request.

    `given` may hold every setting by its flat name, and `preset`, the name of a recipe that fills in what is not
    given. A guidance scale given alone serves both experts, a multiplier given alone all LoRAs of its expert. Without a
    seed one is drawn, and recorded like any other.

    Raises:
        InputError: a value breaks its rule.
    """
    known = {name: value for name, value in given.items() if value is not None}
    if "guidance_scale" in known:
        GUIDANCE.check("guidance_scale", known["guidance_scale"])  # before it stands for both, under two names
        known.setdefault("guidance_scale_high_noise", known["guidance_scale"])
    if (recipe := known.pop("preset", None)) is not None:
        known = {**_recipe(preset, recipe, known), **known}
    if "seed" not in known:
        known["seed"] = int.from_bytes(os.urandom(RANDOM_SEED_BYTES))
    if odd := known.keys() - SETTINGS.keys():
        raise ValueError(f"no settings: {', '.join(sorted(odd))}")
    return _request({**preset_values(preset), **known})


def _request(values: Mapping[str, Any]) -> Request:
    def part(record: type) -> dict[str, Any]:
        return {name: values[name] for name, _ in settings_of(record) if name in values}

    model = Model(tuple(_expert(noise, values) for noise in EXPERT_FLAG), **part(Model))
    sampling, compute, output = Sampling(**part(Sampling)), Compute(**part(Compute)), Output(**part(Output))
    cards = Cards(**part(Cards))
    return Request(model=model, sampling=sampling, compute=compute, cards=cards, output=output, **part(Request))


def _expert(noise: Noise, values: Mapping[str, Any]) -> Expert:
    suffix = SUFFIX[noise]
    loras = _loras(noise, values)
    return Expert(noise, Path(values[EXPERT_FLAG[noise]]), values["guidance_scale" + suffix], loras)


def _loras(noise: Noise, values: Mapping[str, Any]) -> tuple[Lora, ...]:
    """The LoRAs of an expert; one multiplier alone is that of all of them.

    Raises:
        InputError: multipliers that are not one for each LoRA, or no sound number.
    """
    weights, multipliers = (name + SUFFIX[noise] for name in ("lora_weight", "lora_multiplier"))
    paths, numbers = (tuple(values.get(name) or ()) for name in (weights, multipliers))
    for number in numbers:
        MULTIPLIER.check(multipliers, number)
    shown = " ".join(f"{number:g}" for number in numbers)
    if numbers and not paths:
        raise InputError(f"needs `{weights}`", field=multipliers, value=shown)
    if len(numbers) < 2:
        numbers = (numbers or (LORA_MULTIPLIER,)) * len(paths)
    if len(numbers) != len(paths):
        rule = f"{len(numbers)} for {len(paths)} of `{weights}`; give one for each, or one for all"
        raise InputError(rule, field=multipliers, value=shown)
    return tuple(Lora(path, number, noise) for path, number in zip(paths, numbers, strict=True))


def _recipe(preset: Preset, name: str, known: Mapping[str, Any]) -> Mapping[str, Any]:
    OneOf(RECIPES).check("preset", name)
    own = all({flag, f"lora_weight{SUFFIX[noise]}"} & known.keys() for noise, flag in EXPERT_FLAG.items())
    if name == "lightning" and not own:
        raise InputError(
            "needs two experts that are distilled to few steps; give a LoRA of that kind for each, by "
            "`lora_weight_high_noise` and `lora_weight`, or such experts, by `dit_high_noise` and `dit_low_noise`",
            field="preset",
            value="lightning",
        )
    filled = dict(preset.recipes[name])
    if (known.get("guidance_scale"), known.get("guidance_scale_high_noise")) == (1, 1):
        filled.pop("cfg_skip", None)
    return filled
