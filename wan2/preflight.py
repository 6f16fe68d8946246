"""What can be known to fail before anything loads: files that are absent or something else, prompts too long.

Reads headers and the tokenizer only, and never imports PyTorch.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wan2.errors import InputError
from wan2.latents import CHANNELS
from wan2.loading.checkpoint import PICKLES, inspect_transformer, read_header
from wan2.loading.formats import describe
from wan2.models.config import TransformerConfig
from wan2.options import Options
from wan2.outputs import named_outputs
from wan2.text import TEXT_LENGTH, TokenizedPrompt, load_tokenizer

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


def check_run(options: Options, extra_channels: int = 0) -> None:
    """Refuse a run that cannot succeed: every file it needs is there and what it should be, every prompt fits.

    `extra_channels` is how many channels join the latents at the transformer's entrance.

    Raises:
        InputError: the first thing found wrong; the message names its flag.
    """
    _check_save_path(options.save_path)
    _check_unfinished(options)
    _check_room(options)
    needed = model_files(options)
    for name, path in needed.items():
        if not path.exists():
            raise InputError(f"--{name} {path}: no such {'folder' if name == 'tokenizer' else 'file'}")
    for name, path in needed.items():
        if name in EXPERTS:
            check_blocks(options, name, _check_expert(name, path, extra_channels))
        elif name in KINDS and path.suffix not in PICKLES:
            _check_kind(name, path)
    if not options.latent_path:
        tokenize_prompts(options)


def check_blocks(options: Options, name: str, config: TransformerConfig) -> None:
    """Refuse to stream more blocks than the expert `name` has.

    Raises:
        InputError: with both numbers.
    """
    if isinstance(options.blocks_to_swap, int) and options.blocks_to_swap > config.num_layers:
        path = getattr(options.files, name)
        raise InputError(f"--blocks_to_swap {options.blocks_to_swap}: --{name} {path} has {config.num_layers} blocks")


def tokenize_prompts(options: Options) -> list[TokenizedPrompt]:
    """The prompt and, when any pass is guided, the negative prompt, as tokens.

    Raises:
        InputError: no tokenizer, or a prompt longer than the text encoder reads.
    """
    tokenizer = load_tokenizer(options.files.tokenizer)
    texts = {"--prompt": options.prompt} | ({"--negative_prompt": options.negative_prompt} if options.guided else {})
    prompts = {flag: tokenizer.tokenize(text) for flag, text in texts.items()}
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


def _check_expert(name: str, path: Path, extra_channels: int) -> TransformerConfig:
    with naming(name):
        config = inspect_transformer(path).config
    expected = CHANNELS + extra_channels
    if config.in_dim != expected:
        raise InputError(f"--{name} {path}: takes {config.in_dim} latent channels, this run gives it {expected}")
    return config


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


def same_file(path: Path | None, other: Path) -> bool:
    """Whether two paths name one file."""
    return path is not None and path.resolve() == other.resolve()


def _check_unfinished(options: Options) -> None:
    """Refuse to begin anew, under the same name, what an earlier run did not finish."""
    paths = None if options.latent_path else named_outputs(options.save_path)
    if paths is not None and not same_file(options.resume, paths.state) and paths.state.exists():
        raise InputError(
            f"--save_path {options.save_path}: an unfinished run of this name is saved as {paths.state}; "
            "go on with it by --resume, or remove it"
        )


def _check_save_path(path: Path) -> None:
    """Every folder above the output that exists is a folder."""
    above = next((folder for folder in (path, *path.parents) if folder.exists()), Path())
    if not above.is_dir() and (above != path or not path.suffix):
        raise InputError(f"--save_path {path}: {above} is a file, not a folder")
    if above.is_dir() and not os.access(above, os.W_OK):
        raise InputError(f"--save_path {path}: {above} is a folder that cannot be written to")
