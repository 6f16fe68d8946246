"""What can be known to fail before anything loads: files that are absent or something else, prompts too long.

Reads headers and the tokenizer only, and never imports PyTorch.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.request.loras import LORA_WEIGHTS, lora_files, loras_of, named_loras
from wan2.request.presets import ModelFiles
from wan2.request.request import Options
from wan2.run.latents import CHANNELS
from wan2.text.tokenizer import TEXT_LENGTH, TOKENIZER_FILE, TokenizedPrompt, check_vocabulary, load_tokenizer
from wan2.weights.checkpoint import PICKLES, inspect_transformer
from wan2.weights.fp8 import ENDS, FAST_MULTIPLE, fp8_weights
from wan2.weights.fp8_cache import cache_layout, cache_path, gains_by_cache, layout_bytes, look_for_cache
from wan2.weights.header import checkpoint_files, read_header
from wan2.weights.lora import lora_deltas, with_loras
from wan2.weights.names import describe, embedding_rows
from wan2.weights.scales import check_scales
from wan2.weights.sources import TransformerFile

# What `formats.describe` calls the two models that are not transformers.
KINDS = {"t5": "UMT5 text encoder", "vae": "Wan VAE"}
# A state holds the latents and up to three times as much for the solver, in fp32; the one before stays meanwhile.
VALUE_BYTES, STATE_COPIES = 4, 8
EXPERTS = ("dit_high_noise", "dit_low_noise")


def model_files(options: Options) -> dict[str, Path]:
    """The model files this run reads, under the names of `ModelFiles`."""
    names = [] if options.latent_path else ["tokenizer", "t5", *EXPERTS]
    if options.decodes or options.preview:
        names.append("vae")
    return {name: getattr(options.files, name) for name in names}


def input_files(options: Options) -> list[Path]:
    """Every file with weights or rules that a run reads, the shards of a checkpoint one by one."""
    return [file for files in _weights(options).values() for file in files]


def inputs_of(options: Options) -> dict[str, list[Path]]:
    """Flag -> the files that the run reads by it. What cannot be read stands for itself: it is refused elsewhere."""
    found = _weights(options)
    if options.latent_path:
        found["--latent_path"] = [options.latent_path]
    elif options.fp8_cache:
        found["--fp8_cache"] = [cache_path(getattr(options.files, name), loras_of(options, name)) for name in EXPERTS]
    return found


def _weights(options: Options) -> dict[str, list[Path]]:
    named = {name: (path,) for name, path in model_files(options).items()} | lora_files(options)
    return {f"--{name}": [file for path in paths for file in _parts(path)] for name, paths in named.items()}


def _parts(path: Path) -> list[Path]:
    if (path / TOKENIZER_FILE).is_file():
        return [path / TOKENIZER_FILE]
    try:
        return list(dict.fromkeys([path, *checkpoint_files(path)] if path.is_file() else checkpoint_files(path)))
    except (InputError, OSError):
        return [path]


def check_run(options: Options, extra_channels: int = 0) -> None:
    """Refuse a run that cannot succeed: every file it needs is there and what it should be, every prompt fits.

    `extra_channels` is how many channels join the latents at the transformer's entrance.

    Raises:
        InputError: the first thing found wrong; the message names its flag.
    """
    _check_room(options)
    needed = model_files(options)
    for name, paths in ({name: (path,) for name, path in needed.items()} | lora_files(options)).items():
        if absent := [path for path in paths if not path.exists()]:
            raise InputError(f"--{name} {absent[0]}: no such {'folder' if name == 'tokenizer' else 'file'}")
    experts = {}
    for name, path in needed.items():
        if name in EXPERTS:
            experts[name] = _check_expert(options, name, extra_channels)
        elif name in KINDS and path.suffix not in PICKLES:
            _check_kind(name, path)
    if options.fp8_cache:
        _check_cache(experts)
    if not options.latent_path:
        tokenize_prompts(options)
        _check_vocabulary(options.files)


def check_blocks(options: Options, name: str, config: TransformerConfig) -> None:
    """Refuse to stream more blocks than the expert `name` has.

    Raises:
        InputError: with both numbers.
    """
    if isinstance(options.blocks_to_swap, int) and options.blocks_to_swap > config.num_layers:
        path = getattr(options.files, name)
        raise InputError(f"--blocks_to_swap {options.blocks_to_swap}: --{name} {path} has {config.num_layers} blocks")


def check_fp8(options: Options, name: str, config: TransformerConfig, weights: Collection[str]) -> None:
    """Refuse fp8 that the expert `name` cannot have; `weights` are those of its weights that would be in it.

    Raises:
        InputError: with the size that does not suit.
    """
    path = getattr(options.files, name)
    if options.quantises and not weights:
        flag = "fp8_scaled" if options.fp8_scaled else "fp8_fast"
        left = f"the first and the last {ENDS} are left as they are, so none remains"
        raise InputError(f"--{flag}: --{name} {path} has {config.num_layers} blocks; {left}")
    if options.fp8_fast and (odd := [size for size in (config.dim, config.ffn_dim) if size % FAST_MULTIPLE]):
        raise InputError(f"--fp8_fast: --{name} {path} is {odd[0]} wide; needs a multiple of {FAST_MULTIPLE}")


def check_loras(options: Options, expert: str, config: TransformerConfig) -> None:
    """Refuse LoRAs that an expert of this size, named by its flag, cannot take.

    Raises:
        InputError: what does not fit; the message names the flag and the file.
    """
    with naming(LORA_WEIGHTS[expert]):
        for lora in named_loras(options, expert):
            lora_deltas(lora, config)


def tokenize_prompts(options: Options) -> list[TokenizedPrompt]:
    """The prompt and, when any pass is guided, the negative prompt, as tokens.

    Raises:
        InputError: no tokenizer, or a prompt longer than the text encoder reads.
    """
    tokenizer = load_tokenizer(options.files.tokenizer)
    texts = {"--prompt": options.prompt} | ({"--negative_prompt": options.negative_prompt} if options.guided else {})
    prompts = {flag: tokenizer.tokenize(text, flag) for flag, text in texts.items()}
    for flag, prompt in prompts.items():
        if prompt.num_tokens > TEXT_LENGTH:
            raise InputError(f"{flag}: has {prompt.num_tokens} tokens; the text encoder reads at most {TEXT_LENGTH}")
    return list(prompts.values())


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors about a file begin with the flag that named it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"--{name} {str(error).removeprefix(f'--{name} ')}") from error


def _check_expert(options: Options, name: str, extra_channels: int) -> TransformerFile:
    path = getattr(options.files, name)
    with naming(name):
        file = inspect_transformer(path)
        check_scales(file)
    config, expected = file.config, CHANNELS + extra_channels
    if config.in_dim != expected:
        raise InputError(f"--{name} {path}: takes {config.in_dim} latent channels, this run gives it {expected}")
    check_blocks(options, name, config)
    check_fp8(options, name, config, fp8_weights(file, options.quantises))
    with naming(LORA_WEIGHTS[name]):
        return with_loras(file, named_loras(options, name))


def _check_cache(experts: Mapping[str, TransformerFile]) -> None:
    """Refuse to keep fp8 weights where they cannot be kept, or when there are none to be made."""
    gaining = {name: file for name, file in experts.items() if gains_by_cache(file)}
    if not gaining:
        raise InputError("--fp8_cache: the linears of both transformers are fp8 already")
    for name, file in gaining.items():
        checkpoint, folder = file.path, file.path.absolute().parent
        if look_for_cache(file).state == "good":
            continue
        if not os.access(folder, os.W_OK):
            raise InputError(f"--fp8_cache: --{name} {checkpoint} lies in a folder that cannot be written to")
        free, needed = shutil.disk_usage(folder).free, layout_bytes(cache_layout(file))
        if free < needed:
            have = f"{folder} has {free / 1e9:.1f} GB free"
            raise InputError(f"--fp8_cache: {have}; the fp8 weights of --{name} take {needed / 1e9:.1f} GB")


def _check_vocabulary(files: ModelFiles) -> None:
    """Refuse a text encoder whose header shows fewer embeddings than the tokenizer has tokens."""
    rows = embedding_rows(read_header(files.t5).shapes) if files.t5.suffix not in PICKLES else None
    if rows is not None:
        check_vocabulary(load_tokenizer(files.tokenizer), rows, f"--t5 {files.t5}")


def _check_kind(name: str, path: Path) -> None:
    with naming(name):
        looks = describe(read_header(path).shapes)
    if KINDS[name] not in looks:
        raise InputError(f"--{name} {path}: must be a {KINDS[name]}; it looks like {looks}")


def _check_room(options: Options) -> None:
    """Refuse a run whose latents alone do not fit on the disk of its output: nothing of it could be kept."""
    folder = next(folder for folder in (options.save_path, *options.save_path.absolute().parents) if folder.is_dir())
    needed = math.prod(options.shape.latent) * VALUE_BYTES * STATE_COPIES
    free = shutil.disk_usage(folder).free
    if free < needed and not options.latent_path:
        raise InputError(
            f"--save_path {options.save_path}: {folder} has {free / 1e6:.1f} MB free; its state alone takes "
            f"{needed / 1e6:.1f} MB"
        )
