"""What was found out about a scene before anything loads: the base's plan, and what each shot sees. No PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from holocine_ext.forecast import Forecast, KeyRanges, make_forecast
from holocine_ext.lint import advice
from holocine_ext.report import render
from holocine_ext.request import DECIDING, Making, SceneRequest
from holocine_ext.shots.flops import SHOTS, attended, shot_groups
from holocine_ext.shots.spans import allowed_key_ranges, check_text_fits, text_spans
from holocine_ext.variants import variant_of
from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.models.forms import Form, as_fp8
from wan2.plan.budget import Work, encoder_value, vae_size
from wan2.plan.checks import check_blocks, check_fp8, check_fp8_t5, check_loras
from wan2.plan.files import Files, inputs_of, naming
from wan2.plan.mixups import mixups
from wan2.plan.outputs import Inputs
from wan2.plan.plan import Extension, make_plan
from wan2.plan.plan import Plan as BasePlan
from wan2.plan.rates import Rate
from wan2.plan.resume import check_resume, refuse_difference, saved_origin
from wan2.plan.saved_latents import CHANNELS
from wan2.plan.sound import check_sound
from wan2.plan.split import plan_split
from wan2.plan.taken import check_names, check_outputs
from wan2.request.cards import Cards
from wan2.request.compute import Compute
from wan2.request.model import Expert, Model
from wan2.request.request import Request
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt
from wan2.weights.fp8 import quantised
from wan2.weights.held import held_weights

MASK_CHANNELS = 1


@dataclass(frozen=True)
class Plan:
    """One video of several shots, found possible. Made by `plan_video` only.

    Attributes:
        asked: the scene and its shots.
        base: the base's plan.
        key_ranges: for every shot the text positions it may see; None opens the whole text to all.
        forecast: what it costs; None when saved latents are only decoded, or the video is there already.
    """

    asked: SceneRequest
    base: BasePlan
    key_ranges: KeyRanges | None = None
    forecast: Forecast | None = None

    @property
    def model(self) -> Model:
        """What a session for this plan loads."""
        return self.base.request.model

    @property
    def compute(self) -> Compute:
        """How a session for this plan computes."""
        return self.base.request.compute

    @property
    def cards(self) -> Cards:
        """How many cards a session for this plan uses."""
        return self.base.request.cards

    @property
    def output(self) -> Path:
        """The file that is made, or the folder in which it gets a name of its own."""
        return self.base.output

    @property
    def finished(self) -> bool:
        """Whether the video is there already."""
        return self.base.finished

    def __str__(self) -> str:
        """What `--dry_run` prints, with settings by their own names in the place of flags."""
        return render(self.forecast) if self.forecast else f"{self.output}: nothing is denoised"


def plan_video(asked: SceneRequest, files: Files | None = None, inputs: Inputs | None = None) -> Plan:
    """The plan of a video that can be made.

    Args:
        asked: the scene and its shots.
        files: what was opened so far, for several plans of one command.
        inputs: setting -> files that the command reads besides those of the run.

    Raises:
        InputError: the first thing that would make the run fail, or destroy what is not its own.
    """
    opened, making, layout = files or Files(), asked.making, asked.whole
    sparse = making is not None and making.sparse
    extension = Extension(
        scene=asked.as_record(),
        deciding=asked.deciding,
        also=asked.also,
        extra_channels=MASK_CHANNELS if making and making.shot_mask_type else 0,
        attended=attended(layout, sparse) if layout else None,
        scales=asked.scales,
        origin=asked.kept.origin,
        unseen=sum(asked.kept.behind),
        chapters=asked.chapters,
        groups=shot_groups(layout) if layout and sparse else None,
        check=lambda base, files: _check(replace(asked, base=base), files),
    )
    base = make_plan(asked.base, extension, opened, inputs)
    if base.finished or making is None or base.work is None:
        return Plan(asked, base)
    tokens = base.found.texts[0]
    ranges = allowed_key_ranges(text_spans(tokens), TEXT_LENGTH)
    forecast = make_forecast(asked, tokens, base.work, (*asked.warnings, *base.warnings))
    return Plan(asked, base, ranges, forecast)


def look_ahead(asked: SceneRequest, files: Files, inputs: Inputs | None = None, rate: Rate | None = None) -> Forecast:
    """What a video would cost, and how long it would take on a machine of that rate.

    A model whose sizes are published needs no file for that: what only the files can say is then a warning.

    Raises:
        InputError: a file that was given is absent, or one that is there will not do.
    """
    making, base = asked.making, asked.base
    layout = asked.whole
    if making is None or layout is None:
        raise ValueError("saved latents are decoded without a forecast")
    check_names(base, asked.also)
    check_outputs(base, {**(inputs or {}), **inputs_of(base)}, asked.also, replace=True)
    if base.output.soundtrack is not None:
        check_sound(base.output.soundtrack)
    notes = [*asked.warnings]
    tokens = None
    if _replaceable("tokenizer", base.model.tokenizer, making):
        notes.append(
            "--tokenizer: not there, so tokens are estimated, windows of the text are not known, and compute is for "
            "no windows"
        )
    else:
        tokens = _tokenize(making, base, files)
    found = {expert: _sizes(base, expert, making, files) for expert in base.model.experts}
    for expert, (config, held) in found.items():
        check_blocks(base, expert, config)
        check_fp8(base, expert, config, held)
        notes += check_loras(base.model, expert, config, files)
    notes += mixups(base, files)
    check_fp8_t5(base, files)
    experts = base.model.experts
    if absent := [f"`{expert.flag}`" for expert in experts if _replaceable(expert.flag, expert.path, making)]:
        notes.append(f"{' and '.join(absent)}: not there, so the sizes are those of the published model")
    config, held = found[experts[0]]
    if not _replaceable(experts[0].flag, experts[0].path, making):
        # A weight that LoRAs are merged into is held in the compute dtype.
        held = held_weights(files.transformer(base.model, experts[0]), base.compute.quantises)
    split = plan_split(base, config, shot_groups(layout) if making.sparse else None)
    vae, beside = vae_size(base, files), files.values_beside(base.model, config)
    work = Work(config, held, attended(layout, making.sparse), vae, encoder_value(base, files), beside, split)
    return make_forecast(asked, tokens, work, notes, rate)


def looked_over(asked: SceneRequest, files: Files) -> tuple[str, ...]:
    """What in a scene is allowed but likely to disappoint, a line each.

    Raises:
        InputError: a tokenizer that is there and cannot be read.
    """
    there = asked.making is not None and asked.base.model.tokenizer.exists()
    tokens = _tokenize(asked.making, asked.base, files) if asked.making and there else None
    return (*asked.warnings, *advice(asked, tokens))


def _check(asked: SceneRequest, files: Files) -> None:
    """Refuse what cannot be done with shots, before the base checks the files."""
    making = asked.making
    if making is None:
        return
    if SHOTS in (how := asked.base.cards.parallel).split("+") and not making.sparse:
        rule = "needs sparse self-attention; with `variant` full, cards share a video by cfg, ulysses or cfg+ulysses"
        raise InputError(rule, field="parallel", value=how)
    _check_same_scene(asked, files)
    _tokenize(making, asked.base, files)
    for expert in asked.base.model.experts:
        if expert.path.exists():
            _config(expert, making, files)


def _check_same_scene(asked: SceneRequest, files: Files) -> None:
    """Refuse to go on from a state of another scene: the same prompt may be cut or attended to otherwise."""
    state = check_resume(asked.base, asked.as_record(), files)
    if state is None:
        return
    for name, now in asked.deciding.items():
        was = state.scene.get(name)  # a version that knew fewer fields saved none of what was empty
        if was != now and (was or now):
            refuse_difference(saved_origin(state), DECIDING[name], was, now)


def _tokenize(making: Making, request: Request, files: Files) -> TokenizedPrompt:
    """The prompt as tokens, every caption of which the text encoder reads."""
    storyboard, folder = making.scene.storyboard, request.model.tokenizer
    if not folder.exists():
        raise InputError("no such folder", field="tokenizer", value=folder)
    try:
        tokenized = files.tokenize(folder, request.prompt)
    except InputError as error:
        if error.field:
            raise
        raise InputError(f"{storyboard.caption_name}: {error}") from error
    if storyboard.global_caption is not None:
        check_text_fits(tokenized, making.scene.num_shots + len(storyboard.cast), storyboard.caption_name, TEXT_LENGTH)
    return tokenized


def _sizes(request: Request, expert: Expert, making: Making, files: Files) -> tuple[TransformerConfig, dict[str, Form]]:
    """Sizes of an expert and its weights that are held in fewer bits, from its file or as published."""
    if published := _replaceable(expert.flag, expert.path, making):
        config = replace(published, in_dim=published.in_dim + (MASK_CHANNELS if making.shot_mask_type else 0))
        return config, as_fp8(quantised(config) if request.compute.quantises else ())
    config = _config(expert, making, files)
    return config, held_weights(files.base(expert), request.compute.quantises)


def _replaceable(name: str, path: Path, making: Making) -> TransformerConfig | None:
    """The published sizes, when they may stand in for a file that is absent and that nobody named."""
    return None if path.exists() or name in making.named_files else making.preset.published


def _config(expert: Expert, making: Making, files: Files) -> TransformerConfig:
    """The sizes of an expert that is of the variant asked for and takes the channels it will be given."""
    with naming(expert.flag, expert.path):
        file = files.base(expert)
    stated, _ = variant_of(file.header.metadata, expert.path)
    if stated and stated != making.variant:
        rule = f"holds {stated} weights, which cannot run as `variant` {making.variant}; give `variant` {stated}"
        raise InputError(rule, field=expert.flag, value=expert.path)
    masked = file.config.in_dim == CHANNELS + MASK_CHANNELS
    if masked and not making.shot_mask_type:
        rule = "takes a mask channel besides the latents; give `shot_mask_type`"
        raise InputError(rule, field=expert.flag, value=expert.path)
    if making.shot_mask_type and not masked:
        rule = (
            f"needs a checkpoint of {CHANNELS + MASK_CHANNELS} input channels; `{expert.flag}` {expert.path} takes "
            f"{file.config.in_dim}"
        )
        raise InputError(rule, field="shot_mask_type", value=making.shot_mask_type)
    return file.config
