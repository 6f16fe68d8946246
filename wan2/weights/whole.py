"""Text encoders and VAEs, checked as strictly as transformers before anything loads. Reads headers; no PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.weights import text_names, vae_names, vae_shapes
from wan2.weights.fit import disagreement
from wan2.weights.head import Head, read_head
from wan2.weights.header import CheckpointHeader
from wan2.weights.kinds.kind import TEXT_ENCODER, UMT5, VAE, WAN_VAE
from wan2.weights.kinds.refusals import check_kind, not_exactly
from wan2.weights.names import sources
from wan2.weights.scales import check_dtypes, check_scales
from wan2.weights.sources import Source
from wan2.weights.turned import with_turns

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]
# Of latents, which the transformers need, and of pictures.
LATENT_CHANNELS, PICTURE_CHANNELS = 16, 3


def text_encoder_config(path: Path, header: CheckpointHeader | None = None) -> Config:
    """The arguments of `UMT5Config` for a text encoder's file, found whole. header: that of the file, if it was read.

    Raises:
        InputError: the file is no UMT5 encoder, or its tensors are not exactly the expected ones; what it is instead.
    """
    head = read_head(path, header)
    check_kind(path, head.kind, TEXT_ENCODER, UMT5)
    found = sources((name for name in head.tensors if name not in text_names.IGNORED), text_names.to_transformers)
    config = text_names.config_from_shapes(_shapes(head, found))
    if config is None:
        raise _unsized(path, head, found, text_names.SIZED_BY.values())
    _check(path, head, found, text_names.tensor_shapes(config))
    if header is not None:
        check_scales(header, found)
        with_turns(path, header, found)
    return config


def vae_config(path: Path, header: CheckpointHeader | None = None) -> Config:
    """The arguments of `AutoencoderKLWan` for a VAE's file, found whole. header: that of the file, if it was read.

    Raises:
        InputError: the file is no Wan2.1 VAE, or its tensors are not exactly the expected ones; what it is instead.
    """
    head = read_head(path, header)
    check_kind(path, head.kind, VAE, WAN_VAE)
    names = vae_names.to_diffusers(head.tensors)
    found = sources(head.tensors, names.__getitem__)
    config = vae_names.config_from_shapes(_shapes(head, found))
    if config is None:
        raise _unsized(path, head, found, vae_names.SIZED_BY)
    if config["z_dim"] != LATENT_CHANNELS:
        raise InputError(f"{path}: has {config['z_dim']} latent channels; must be a Wan2.1 VAE, of {LATENT_CHANNELS}")
    if config["out_channels"] != PICTURE_CHANNELS:
        rule = f"its pictures have {config['out_channels']} channels, those of a Wan2.1 VAE have {PICTURE_CHANNELS}"
        raise InputError(f"{path}: {rule}; VAEs that enlarge images are not read")
    _check(path, head, found, vae_shapes.tensor_shapes(config))
    if header is not None:
        check_scales(header, found)
    return config


def _check(path: Path, head: Head, found: Mapping[str, Source], expected: Shapes) -> None:
    if problem := disagreement(expected, _shapes(head, found)):
        raise not_exactly(path, problem, head.kind)
    check_dtypes(path, head.tensors, found)


def _shapes(head: Head, found: Mapping[str, Source]) -> Shapes:
    return {name: head.tensors[source.name][1] for name, source in found.items()}


def _unsized(path: Path, head: Head, found: Mapping[str, Source], sized_by: Iterable[str]) -> InputError:
    """The refusal of a file whose sizes cannot be told."""
    absent = [name for name in sized_by if name not in found]
    problem = f"tensor {absent[0]} is missing" if absent else "the shapes of its tensors contradict each other"
    return not_exactly(path, problem, head.kind)
