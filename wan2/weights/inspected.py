"""What a file is and whether this program runs it, found by the very checks that a run makes. No PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wan2.errors import InputError
from wan2.models.config import A14B
from wan2.text.tokenizer import TOKENIZER_FILE, load_tokenizer
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.head import Head, read_head, readable
from wan2.weights.header import CheckpointHeader, checkpoint_files, read_header
from wan2.weights.kinds.experts import expert_by_name
from wan2.weights.kinds.kind import LATENTS, STATE, TEXT_ENCODER, TRANSFORMER, VAE, Kind
from wan2.weights.kinds.without import without_weights
from wan2.weights.lora import inspect_lora
from wan2.weights.scales import check_scales
from wan2.weights.sources import Lora
from wan2.weights.whole import text_encoder_config, vae_config

EXPERTS = {"high": ("dit_high_noise",), "low": ("dit_low_noise",), "": ("dit_high_noise", "dit_low_noise")}
LORAS = {"high": ("lora_weight_high_noise",), "low": ("lora_weight",), "": ("lora_weight_high_noise", "lora_weight")}


@dataclass(frozen=True)
class Inspected:
    """A file that was looked at.

    Attributes:
        path: as it was given: a file or a folder.
        kind: what it is.
        settings: by which it is given to a run; empty where no run takes it.
        problem: why no run takes it; empty where one does.
        expert: which expert it is, or is for, by its name; empty where that does not tell.
        head: its tensors, where it has some.
        nbytes: the bytes of its files.
    """

    path: Path
    kind: Kind
    settings: tuple[str, ...] = ()
    problem: str = ""
    expert: str = ""
    head: Head | None = None
    nbytes: int = 0


def inspect_file(path: Path) -> Inspected:
    """What a file, or a folder with one model, is.

    Raises:
        InputError: there is nothing at this path.
    """
    if not path.exists():
        raise InputError("no such file", field="inspect", value=path)
    if (path / TOKENIZER_FILE).is_file() or path.name == TOKENIZER_FILE:
        return _tokenizer(path)
    try:
        header = read_header(path) if readable(path) else None
        head = read_head(path, header)
    except InputError as error:
        kind = Kind("folder") if path.is_dir() else without_weights(path)
        return Inspected(path, kind, problem=_rule(path, error), nbytes=_size(path))
    return _with_tensors(path, head, header)


def _tokenizer(path: Path) -> Inspected:
    folder = path if path.is_dir() else path.parent
    try:
        load_tokenizer(folder)
    except InputError as error:
        return Inspected(path, Kind("tokenizer"), problem=_rule(folder, error))
    return Inspected(path, Kind("tokenizer"), ("tokenizer",))


def _with_tensors(path: Path, head: Head, header: CheckpointHeader | None) -> Inspected:
    kind, expert = head.kind, expert_by_name(path)
    settings = _settings(kind, expert)
    problem = "" if settings else "this program has no use for it"
    try:
        if settings and not _check(path, kind, header):
            settings = (*settings, "lora_partial")
    except InputError as error:
        settings, problem = (), _rule(path, error)
    told = expert if kind.what == TRANSFORMER or kind.is_adapter else ""
    return Inspected(path, kind, settings, problem, told, head, _size(path))


def _settings(kind: Kind, expert: str) -> tuple[str, ...]:
    """The settings by which a file of that kind would be given."""
    if kind.what == TRANSFORMER:
        return EXPERTS[expert]
    if kind.is_adapter:
        return LORAS[expert]
    named = {TEXT_ENCODER: ("t5",), VAE: ("vae",), LATENTS: ("latent_path",), STATE: ("resume",)}
    return named.get(kind.what, ())


def _check(path: Path, kind: Kind, header: CheckpointHeader | None) -> bool:
    """The checks of a run; whether all of the file is used. Raises `InputError` where a run would fail."""
    if kind.what == TEXT_ENCODER:
        text_encoder_config(path, header)
    elif kind.what == VAE:
        vae_config(path, header)
    elif kind.what == TRANSFORMER:
        file = inspect_transformer(path, header=header)
        check_scales(file.header, file.sources)
    elif kind.is_adapter:
        # As for the one of two experts; a file for both has the same for the other.
        return not inspect_lora(Lora(path, 1.0, "high"), A14B, header, partial=True).left_out
    return True


def _rule(path: Path, error: InputError) -> str:
    return error.rule.removeprefix(f"{path}: ")


def _size(path: Path) -> int:
    try:
        return sum(file.stat().st_size for file in checkpoint_files(path))
    except (InputError, OSError):
        return path.stat().st_size
