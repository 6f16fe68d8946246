"""Holds a job against the files it needs before anything loads, and says what it would do. Never imports PyTorch."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from holocine_ext.job import DECIDING, Job, Making
from holocine_ext.plan import Plan, make_plan
from holocine_ext.shots.flops import attended
from holocine_ext.shots.layout import Range
from holocine_ext.shots.spans import allowed_key_ranges, check_text_fits, text_spans
from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.plan.budget import Work, chosen, vae_size, within_budget, work_of
from wan2.plan.checks import EXPERTS, check_blocks, check_fp8, check_loras, check_run, inputs_of, naming
from wan2.plan.outputs import Inputs
from wan2.plan.resume import check_resume, refuse_difference, saved_place
from wan2.plan.taken import check_outputs
from wan2.request.request import Options
from wan2.run.latents import CHANNELS
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt, clean_prompt, load_tokenizer
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.fp8 import fp8_weights, quantised
from wan2.weights.sources import TransformerFile

MASK_CHANNELS = 1
_VARIANT_IN_NAME = re.compile(r"(full|sparse)_")


def check_job(job: Job) -> tuple[tuple[Range, ...], ...] | None:
    """Refuse a job that cannot succeed; for every shot the text positions it may see (None: no windows).

    Raises:
        InputError: the first thing found wrong; the message names its flag.
    """
    making, options = job.making, job.options
    if making is None:
        check_run(options)
        return None
    check_same_scene(job)
    tokenized = _tokenize(making, options)
    for name in EXPERTS:
        path = getattr(options.files, name)
        if path.exists():
            _inspect(name, path, making)
    check_run(options, MASK_CHANNELS if making.shot_mask_type else 0)
    return allowed_key_ranges(text_spans(tokenized), TEXT_LENGTH)


def check_job_outputs(job: Job, inputs: Inputs, *, replace: bool) -> Inputs:
    """Refuse names that cannot be written, that something is read from, or that are taken; all that the job reads.

    inputs: what the command reads besides the files of the run. replace: as in `outputs.check_outputs`.
    """
    inputs = {**inputs, **inputs_of(job.options)}
    check_outputs(job.options, inputs, job.shown, replace=replace)
    return inputs


def check_same_scene(job: Job) -> None:
    """Refuse to go on from a state of another scene: the same prompt may be cut or attended to otherwise.

    Raises:
        InputError: the first difference, by its flag.
    """
    state = check_resume(job.options, job.as_record())
    if state is None:
        return
    for name, now in job.deciding.items():
        if state.scene[name] != now:
            refuse_difference(saved_place(state), DECIDING[name], state.scene[name], now)


def work_of_job(job: Job) -> Work:
    """What decides the memory of a job whose files are there."""
    sparse = job.making is not None and job.making.sparse
    return work_of(job.options, attended(job.layout, sparse) if job.layout else None)


def dry_plan(job: Job, tflops: float | None = None) -> Plan:
    """What the job would do, and how long it would take on a machine of so many 10^12 operations a second.

    A model whose sizes are published needs no file for that: what only the files tell is then a warning.

    Raises:
        InputError: a file named on the command line is absent, or one that is there will not do.
    """
    making, options = job.making, job.options
    if making is None or job.layout is None:
        raise ValueError("saved latents are decoded without a plan")
    notes = list(job.warnings)
    if _replaceable("tokenizer", options.files.tokenizer, making):
        notes.append(
            "--tokenizer: not there, so tokens and windows of the text are not known, and compute is for no windows"
        )
        tokenized = TokenizedPrompt(clean_prompt(options.prompt), (), ())
    else:
        tokenized = _tokenize(making, options)
    found = {name: _sizes(options, name, making) for name in EXPERTS}
    for name, (config, weights) in found.items():
        check_blocks(options, name, config)
        check_fp8(options, name, config, weights)
        check_loras(options, name, config)
    config, weights = found[EXPERTS[0]]
    if absent := [f"--{name}" for name in EXPERTS if _replaceable(name, getattr(options.files, name), making)]:
        notes.append(f"{' and '.join(absent)}: not there, so the sizes are those of the published model")
    work = Work(config, weights, attended(job.layout, making.sparse), vae_size(options.files.vae))
    fitted = within_budget(options, work)
    return make_plan(
        scene=making.scene,
        layout=job.layout,
        tokenized=tokenized,
        options=fitted,
        work=work,
        sparse=making.sparse,
        warnings=notes,
        chosen=chosen(options, fitted),
        tflops=tflops,
    )


def _tokenize(making: Making, options: Options) -> TokenizedPrompt:
    """The prompt as tokens, every caption of which the text encoder reads."""
    storyboard, folder = making.scene.storyboard, options.files.tokenizer
    if not folder.exists():
        raise InputError(f"--tokenizer {folder}: no such folder")
    tokenized = load_tokenizer(options.files.tokenizer).tokenize(options.prompt, storyboard.caption_name)
    if storyboard.global_caption is not None:
        check_text_fits(tokenized, making.scene.num_shots, storyboard.caption_name, TEXT_LENGTH)
    return tokenized


def _sizes(options: Options, name: str, making: Making) -> tuple[TransformerConfig, frozenset[str]]:
    """Sizes of an expert and its weights in fp8, from its file or as published."""
    path = getattr(options.files, name)
    if published := _replaceable(name, path, making):
        config = replace(published, in_dim=published.in_dim + (MASK_CHANNELS if making.shot_mask_type else 0))
        return config, quantised(config) if options.quantises else frozenset()
    file = _inspect(name, path, making)
    return file.config, fp8_weights(file, options.quantises)


def _replaceable(name: str, path: Path, making: Making) -> TransformerConfig | None:
    """The published sizes, when they may stand in for a file that is absent and that nobody named."""
    return None if path.exists() or name in making.named_files else making.preset.published


def _inspect(name: str, path: Path, making: Making) -> TransformerFile:
    """The file of an expert that is of the variant asked for and takes the channels it will be given."""
    with naming(name):
        file = inspect_transformer(path)
    in_name = _VARIANT_IN_NAME.match(path.name)
    stated = file.header.metadata.get("variant", in_name[1] if in_name else making.variant)
    if stated != making.variant:
        raise InputError(
            f"--{name} {path}: holds {stated} weights, which cannot run as --variant {making.variant}; "
            f"give --variant {stated}"
        )
    masked = file.config.in_dim == CHANNELS + MASK_CHANNELS
    if masked and not making.shot_mask_type:
        raise InputError(f"--{name} {path}: takes a mask channel beside the latents; give --shot_mask_type")
    if making.shot_mask_type and not masked:
        raise InputError(
            f"--shot_mask_type {making.shot_mask_type}: needs a checkpoint of {CHANNELS + MASK_CHANNELS} input "
            f"channels; --{name} {path} takes {file.config.in_dim}"
        )
    return file
