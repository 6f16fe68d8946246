"""What a run would do and cost, before it does anything: the numbers behind `--dry_run`. Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from holocine_ext.lint import advice
from holocine_ext.request import Making, SceneRequest
from holocine_ext.shots.flops import attention_pairs, count_passes, forward_flops, shot_groups, text_pairs
from holocine_ext.shots.layout import Range, ShotLayout
from holocine_ext.shots.spans import allowed_key_ranges, estimated_tokens, text_spans
from holocine_ext.story.scene import Scene
from holocine_ext.story.words import describe
from wan2.models.config import TransformerConfig
from wan2.plan.budget import Work, chosen, predict, value_bytes, within_budget
from wan2.plan.memory import Memory
from wan2.plan.rates import Rate
from wan2.plan.traffic import Sharing, make_sharing
from wan2.request.model import Model
from wan2.request.request import Request
from wan2.sampling.schedule import timesteps
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt, clean_prompt

KeyRanges = tuple[tuple[Range, ...], ...]
# What a preset calls the settings that name it.
PRESET_NAMES = {"model": "name", "variant": "variant"}


class Counted(NamedTuple):
    """How many tokens the prompt has; estimated where no tokenizer was there to count them."""

    tokens: int
    estimated: bool


@dataclass(frozen=True)
class ShotForecast:
    """One shot. Ranges are half-open; `asked` is None where the cut was left to be divided evenly."""

    caption: str
    frames: Range
    latents: Range
    tokens: int
    asked: int | None
    keys: tuple[Range, ...]
    """The text positions it sees; all of them when the text has no windows."""


@dataclass(frozen=True)
class Forecast:
    """Everything a dry run reports.

    Attributes:
        request: what is made, within `vram_budget`.
        layout: the shots.
        shots: one by one.
        sparse: whether self-attention is sparse between shots.
        text: the tokens of the prompt.
        passes: of the transformer, with the prompt and with the negative prompt.
        positive_flops, negative_flops: operations of one pass. full_flops: of one with full attention.
        memory: predicted bytes.
        chosen: what was chosen to fit `vram_budget`, setting by setting.
        rate: what the machine does in a second, if that is known.
        sharing: what several cards send each other; None for one.
        warnings: lines to show with it.
        told: the settings that hold because the storyboard says so, and which that is.
    """

    request: Request
    layout: ShotLayout
    shots: tuple[ShotForecast, ...]
    sparse: bool
    text: Counted
    passes: tuple[int, int]
    positive_flops: int
    negative_flops: int
    full_flops: int
    memory: Memory
    chosen: str = ""
    rate: Rate | None = None
    sharing: Sharing | None = None
    warnings: tuple[str, ...] = ()
    told: str = ""

    @property
    def total_flops(self) -> int:
        """Operations of the transformer over the whole run."""
        return self.passes[0] * self.positive_flops + self.passes[1] * self.negative_flops


def make_forecast(
    asked: SceneRequest,
    tokenized: TokenizedPrompt | None,
    work: Work,
    warnings: Sequence[str] = (),
    rate: Rate | None = None,
) -> Forecast:
    """The forecast of a run.

    Args:
        asked: the run, of a scene.
        tokenized: the tokens of its prompt; None where no tokenizer is there.
        work: what decides its memory besides the request.
        warnings: lines to show with it.
        rate: what the machine does in a second, if that is known.

    Raises:
        InputError: the run does not fit `vram_budget`.
    """
    making, layout, whole = asked.making, asked.layout, asked.whole
    if making is None or layout is None or whole is None:
        raise ValueError("saved latents are decoded without a forecast")
    request = within_budget(asked.base, work)
    tokens = tokenized or TokenizedPrompt(clean_prompt(request.prompt), (), ())
    ranges = allowed_key_ranges(text_spans(tokens), TEXT_LENGTH)
    config, sparse = work.config, making.sparse
    return Forecast(
        request=request,
        layout=layout,
        shots=_shots(making.scene, layout, ranges),
        sparse=sparse,
        text=Counted(tokens.num_tokens, False) if tokenized else Counted(estimated_tokens(tokens.text), True),
        passes=(0, 0) if asked.kept.is_all(layout) else _passes(request),
        positive_flops=_flops(config, whole, sparse, ranges),
        negative_flops=_flops(config, whole, sparse, None),
        full_flops=_flops(config, whole, False, None),
        memory=predict(request, work),
        chosen=chosen(asked.base, request),
        rate=rate,
        sharing=_sharing(request, work, whole, sparse),
        warnings=(*warnings, *advice(asked, tokenized)),
        told=told_words(making),
    )


def told_words(making: Making) -> str:
    """The settings that hold because the storyboard says so, in words; empty where there are none."""
    named = {name: making.scene.storyboard.settings.get(name) for name in ("model", "variant")}
    model = {name: value for name, value in named.items() if value == getattr(making.preset, PRESET_NAMES[name])}
    shown = [f"{name} {_plain(value)}" for name, value in (model | dict(making.of_board)).items()]
    return f"{', '.join(shown)} ({Path(making.scene.storyboard.source).name})" if shown else ""


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(_plain(item) for item in value)
    return describe(value.name if isinstance(value, Path) else value).strip("'")


def lora_words(model: Model) -> str:
    """The LoRAs of both experts in words; empty where there are none."""
    if not any(expert.loras for expert in model.experts):
        return ""
    words = []
    for expert in model.experts:
        names = (f"{lora.path.name} x {lora.multiplier:g}" for lora in expert.loras)
        words.append(f"{expert.noise}-noise expert {', '.join(names) or 'none'}")
    return "; ".join(words) + ("; beside the weights" if model.branches else "")


def _sharing(request: Request, work: Work, layout: ShotLayout, sparse: bool) -> Sharing | None:
    if work.split is None:
        return None
    groups, passes = shot_groups(layout) if sparse else None, 2 if request.guided else 1
    return make_sharing(work.split, work.config, groups, layout.tokens, passes, value_bytes(request))


def _passes(request: Request) -> tuple[int, int]:
    sampling, model = request.sampling, request.model
    times = timesteps(sampling.infer_steps, sampling.flow_shift, sampling.sample_solver)
    scales = model.expert("high").guidance_scale, model.expert("low").guidance_scale
    return count_passes(times, model.dual_dit_boundary, scales, sampling.cfg_skip)


def _flops(config: TransformerConfig, layout: ShotLayout, sparse: bool, ranges: KeyRanges | None) -> int:
    pairs = attention_pairs(layout, sparse), text_pairs(layout, ranges, TEXT_LENGTH)
    return forward_flops(config, *pairs, layout.tokens, TEXT_LENGTH)


def _shots(scene: Scene, layout: ShotLayout, ranges: KeyRanges | None) -> tuple[ShotForecast, ...]:
    captions = scene.storyboard.shot_captions
    cuts = (None, *(scene.cuts or (None,) * len(layout.cuts)))
    keys = (ranges or (((0, TEXT_LENGTH),),) * layout.num_shots)[: layout.num_shots]
    rows = zip(captions, layout.frames, layout.latents, layout.shots, cuts, keys, strict=True)
    return tuple(
        ShotForecast(caption, frames, latents, b - a, asked, seen)
        for caption, frames, latents, (a, b), asked, seen in rows
    )
