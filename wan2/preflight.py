"""What can be known to fail before anything loads: files that are absent or something else, prompts too long.

Reads headers and the tokenizer only, and never imports PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from wan2.errors import InputError
from wan2.loading.checkpoint import PICKLES, inspect_transformer, read_header
from wan2.loading.formats import describe
from wan2.options import Options
from wan2.text import TEXT_LENGTH, TokenizedPrompt, load_tokenizer

# What `formats.describe` calls the two models that are not transformers.
KINDS = {"t5": "UMT5 text encoder", "vae": "Wan VAE"}
EXPERTS = ("dit_high_noise", "dit_low_noise")


def check_run(options: Options, extra_channels: int = 0) -> None:
    """Refuse a run that cannot succeed: every file it needs is there and what it should be, every prompt fits.

    `extra_channels` is how many channels join the latents at the transformer's entrance.

    Raises:
        InputError: the first thing found wrong; the message names its flag.
    """
    _check_folder(options.save_path)
    needed = model_files(options)
    for name, path in needed.items():
        if not path.exists():
            raise InputError(f"--{name} {path}: no such file")
    for name, path in needed.items():
        if name in EXPERTS:
            _check_expert(name, path, VIDEO_CHANNELS + extra_channels)
        elif name in KINDS and path.suffix not in PICKLES:
            check_kind(name, path, _shapes(name, path))
    if "tokenizer" in needed:
        tokenize_prompts(options)


VIDEO_CHANNELS = 16


def model_files(options: Options) -> dict[str, Path]:
    """The model files this run reads, under the names of `ModelFiles`."""
    names = [] if options.latent_path else ["tokenizer", "t5", *EXPERTS]
    names += ["vae"] if options.decodes else []
    return {name: getattr(options.files, name) for name in names}
