"""`--download`: fetches the published files that are missing, and says first how large they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wan2.cli.console import Console
from wan2.errors import InputError
from wan2.request.model import Model
from wan2.request.presets import WAN22_T2V, WAN_FOLDER
from wan2.text.tokenizer import TOKENIZER_FILE
from wan2.weights.download import Remote, check_room, fetch, look_up

WAN = "Wan-AI/Wan2.2-T2V-A14B"
REPACKED, INSIDE = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged", "split_files/diffusion_models"
ALSO = ("download", "quiet")


def shared_files(model: Model) -> tuple[Remote, ...]:
    """Text encoder, VAE and tokenizer, at the paths of a model in `WAN_FOLDER`."""
    paths = (model.t5, model.vae, model.tokenizer / TOKENIZER_FILE)
    return tuple(Remote(WAN, path.relative_to(WAN_FOLDER).as_posix(), path) for path in paths)


def base_files() -> tuple[Remote, ...]:
    """All files of Wan2.2; its transformers in fp16, half the size of those of Wan's own repository."""
    model = WAN22_T2V.model
    experts = (Remote(REPACKED, f"{INSIDE}/{expert.path.name}", expert.path) for expert in model.experts)
    return (*experts, *shared_files(model))


def download(given: Mapping[str, Any], files: Sequence[Remote], folder: Path, console: Console) -> None:
    """Fetch what is missing of the files into the folder that holds all of them, and print their paths.

    Raises:
        InputError: something else was asked for, too, or the disk has too little room.
        RunError: the network fails; the same command goes on from there.
    """
    for name, value in given.items():
        if value is not None and name not in ALSO:
            raise InputError(f"fetches files and makes nothing, so it cannot go with `{name}`", field="download")
    console.stage("Asking what is published")
    missing = look_up(files)
    if missing:
        free = check_room(missing, folder)
        total = sum(one.nbytes for one in missing)
        console.say(f"{len(missing)} of {len(files)} files are missing, {total / 1e9:.1f} GB; {free / 1e9:.1f} GB free")
    if console.quiet:
        _without_bars()
    for one in missing:
        console.stage(f"Downloading {one.remote.path} ({one.nbytes / 1e9:.1f} GB)")
        fetch(one)
    console.done([file.path for file in files])


def _without_bars() -> None:
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
