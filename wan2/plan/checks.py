"""What can be known to fail before anything loads: files that are absent or something else, prompts too long.

Reads headers and the tokenizer only, and never imports PyTorch.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.models.forms import FAST_MULTIPLES, FP8, INT8, Form
from wan2.plan.files import Files, lora_files, model_files, naming
from wan2.plan.saved_latents import CHANNELS
from wan2.plan.sound import check_sound
from wan2.request.model import Expert, Model, Noise
from wan2.request.request import Request
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt, check_vocabulary
from wan2.weights.fp8 import ENDS
from wan2.weights.fp8_cache import cache_layout, gains_by_cache, layout_bytes
from wan2.weights.head import readable
from wan2.weights.held import held_weights, packed_value
from wan2.weights.sources import TransformerFile
from wan2.weights.whole import text_encoder_config, vae_config

# A state holds the latents and up to three times as much for the solver, in fp32; the one before stays meanwhile.
VALUE_BYTES, STATE_COPIES = 4, 8


@dataclass(frozen=True)
class Found:
    """What a run will load, found sound: its transformers, and its prompts as tokens (the negative one if needed).

    notes: lines about what is left out.
    """

    experts: Mapping[Noise, TransformerFile] = field(default_factory=dict)
    texts: tuple[TokenizedPrompt, ...] = ()
    notes: tuple[str, ...] = ()


def check_run(request: Request, files: Files, extra_channels: int = 0) -> Found:
    """Refuse a run that cannot succeed: every file it needs is there and what it should be, every prompt fits.

    Args:
        request: the run.
        files: what was opened so far.
        extra_channels: how many channels join the latents at the transformer's entrance.

    Raises:
        InputError: the first thing found wrong; it names the setting.
    """
    _check_room(request)
    if request.output.soundtrack is not None:
        check_sound(request.output.soundtrack)
    needed = model_files(request)
    for name, paths in ({name: (path,) for name, path in needed.items()} | lora_files(request)).items():
        if gone := [path for path in paths if not path.exists()]:
            raise InputError(f"no such {'folder' if name == 'tokenizer' else 'file'}", field=name, value=gone[0])
    experts, notes = dict[Noise, TransformerFile](), list[str]()
    if request.latent_path is None:
        words = _check_text_encoder(request.model.t5, files)
        check_fp8_t5(request, files)
        for expert in request.model.experts:
            config = _check_expert(request, expert, files, extra_channels)
            notes += check_loras(request.model, expert, config, files)
            experts[expert.noise] = files.transformer(request.model, expert)
    if "vae" in needed:
        _check_vae(request.model.vae, files)
    if request.compute.fp8_cache:
        _check_cache(request, experts, files)
    if request.latent_path is not None:
        return Found()
    texts = tokenize_prompts(request, files)
    check_vocabulary(files.tokenizer(request.model.tokenizer), words, request.model.t5)
    return Found(experts, texts, tuple(notes))


def check_blocks(request: Request, expert: Expert, config: TransformerConfig) -> None:
    """Refuse to stream more blocks than an expert has.

    Raises:
        InputError: with both numbers.
    """
    blocks = request.compute.blocks_to_swap
    if isinstance(blocks, int) and blocks > config.num_layers:
        rule = f"`{expert.flag}` {expert.path} has {config.num_layers} blocks"
        raise InputError(rule, field="blocks_to_swap", value=blocks)


def check_fp8(request: Request, expert: Expert, config: TransformerConfig, held: Mapping[str, Form]) -> None:
    """Refuse fp8 that an expert cannot have; `held` are those of its weights that would be held in fewer bits.

    Raises:
        InputError: with the size that does not suit.
    """
    compute, place = request.compute, f"`{expert.flag}` {expert.path}"
    asked = "fp8_scaled" if compute.fp8_scaled else "fp8_fast"
    if compute.quantises and (packed := sorted({form.kind for form in held.values()} - {FP8})):
        raise InputError(f"{place} is quantised already ({', '.join(packed)}), and stays so", field=asked)
    if compute.quantises and not held:
        left = f"the first and the last {ENDS} are left as they are, so none remains"
        raise InputError(f"{place} has {config.num_layers} blocks; {left}", field=asked)
    if compute.int8_fast and not any(form.kind == INT8 for form in held.values()):
        raise InputError(
            f"{place} has no linear layer in int8, or LoRAs are merged into all that it has", field="int8_fast"
        )
    for form in compute.fast:
        multiple = FAST_MULTIPLES[form]
        if odd := [size for size in (config.dim, config.ffn_dim) if size % multiple]:
            raise InputError(f"{place} is {odd[0]} wide; needs a multiple of {multiple}", field=f"{form}_fast")


def check_fp8_t5(request: Request, files: Files) -> None:
    """Refuse to quantise a text encoder that is quantised already.

    Raises:
        InputError: with its file.
    """
    path = request.model.t5
    if request.compute.fp8_t5 and readable(path) and path.is_file() and packed_value(files.header(path)):
        raise InputError(f"`t5` {path} is quantised already, and stays so", field="fp8_t5")


def check_loras(model: Model, expert: Expert, config: TransformerConfig, files: Files) -> list[str]:
    """Refuse LoRAs that an expert of this size cannot take, also those whose multiplier is 0.

    Returns a line about every one of which something is left out.

    Raises:
        InputError: what does not fit; with the setting and the file.
    """
    notes, name = [], expert.name("lora_weight")
    for lora in expert.loras:
        with naming(name, lora.path):
            found = files.lora(lora, config, model.lora_partial)
        for other in model.experts:
            if found.both and lora.path not in [theirs.path for theirs in other.loras]:
                rule = f"holds an adapter for each expert; give it by `{other.name('lora_weight')}`, too"
                raise InputError(rule, field=name, value=lora.path)
        if found.left_out:
            first = ascii(found.left_out[0])[1:-1][:80]
            notes.append(f"`{name}` {lora.path}: {len(found.left_out)} tensors are left out, such as {first}")
    return notes


def tokenize_prompts(request: Request, files: Files) -> tuple[TokenizedPrompt, ...]:
    """The prompt and, when any pass is guided, the negative prompt, as tokens.

    Raises:
        InputError: no tokenizer, or a prompt longer than the text encoder reads.
    """
    texts = {"prompt": request.prompt} | ({"negative_prompt": request.negative_prompt} if request.guided else {})
    prompts = []
    for name, text in texts.items():
        with naming(name):
            prompt = files.tokenize(request.model.tokenizer, text)
        if prompt.num_tokens > TEXT_LENGTH:
            rule = f"has {prompt.num_tokens} tokens; the text encoder reads at most {TEXT_LENGTH}"
            raise InputError(rule, field=name)
        prompts.append(prompt)
    return tuple(prompts)


def _check_expert(request: Request, expert: Expert, files: Files, extra_channels: int) -> TransformerConfig:
    """The sizes of an expert, its LoRAs aside, once it is known to do."""
    with naming(expert.flag, expert.path):
        file = files.base(expert)
    config, expected = file.config, CHANNELS + extra_channels
    if config.in_dim != expected:
        rule = f"takes {config.in_dim} latent channels, this run gives it {expected}"
        raise InputError(rule, field=expert.flag, value=expert.path)
    check_blocks(request, expert, config)
    check_fp8(request, expert, config, held_weights(file, request.compute.quantises))
    return config


def _check_cache(request: Request, experts: Mapping[Noise, TransformerFile], files: Files) -> None:
    """Refuse to keep fp8 weights where they cannot be kept, or when there are none to be made."""
    gaining = {noise: file.bare for noise, file in experts.items() if gains_by_cache(file.bare)}
    if not gaining:
        raise InputError("the linear layers of both transformers are fp8 already", field="fp8_cache")
    for noise, file in gaining.items():
        expert, folder = request.model.expert(noise), file.path.absolute().parent
        with naming("fp8_cache"):
            kept = files.kept_fp8(file)
        if kept.state == "good":
            continue
        if not os.access(folder, os.W_OK):
            rule = f"`{expert.flag}` {expert.path} lies in a folder that cannot be written to"
            raise InputError(rule, field="fp8_cache")
        free, needed = shutil.disk_usage(folder).free, layout_bytes(cache_layout(file))
        if free < needed:
            have = f"{folder} has {free / 1e9:.1f} GB free"
            rule = f"{have}; the fp8 weights of `{expert.flag}` take {needed / 1e9:.1f} GB"
            raise InputError(rule, field="fp8_cache")


def _check_text_encoder(path: Path, files: Files) -> int:
    """Refuse a text encoder that is not whole; how many tokens it knows."""
    with naming("t5", path):
        return int(text_encoder_config(path, files.header(path) if readable(path) else None)["vocab_size"])


def _check_vae(path: Path, files: Files) -> None:
    with naming("vae", path):
        vae_config(path, files.header(path) if readable(path) else None)


def _check_room(request: Request) -> None:
    """Refuse a run whose latents alone do not fit on the disk of its output: nothing of it could be kept."""
    output = request.output.save_path
    folder = next(folder for folder in (output, *output.absolute().parents) if folder.is_dir())
    needed = math.prod(request.shape.latent) * VALUE_BYTES * STATE_COPIES
    free = shutil.disk_usage(folder).free
    if free < needed and not request.latent_path:
        rule = f"{folder} has {free / 1e6:.1f} MB free; its state alone takes {needed / 1e6:.1f} MB"
        raise InputError(rule, field="save_path", value=output)
