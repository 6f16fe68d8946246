"""The VAE of a run, from its file. Knows nothing of latents."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan

from wan2.errors import InputError
from wan2.models.vae import WanVAE, channels_last, upsample_in_place_of_fp32
from wan2.weights.decode import FileTensor
from wan2.weights.fit import disagreement
from wan2.weights.header import CheckpointHeader
from wan2.weights.mapped import map_tensors
from wan2.weights.names import describe
from wan2.weights.vae_names import config_from_shapes, to_diffusers


@dataclass(frozen=True)
class VaeFile:
    """A VAE's file that was inspected and found sound.

    config: arguments of `AutoencoderKLWan`. tensors: by the names of diffusers, in the mapped file.
    """

    path: Path
    config: dict[str, Any]
    tensors: dict[str, FileTensor] = field(repr=False)


def inspect_vae(path: Path, header: CheckpointHeader | None = None) -> VaeFile:
    """Open `Wan2.1_VAE.pth`, or the same tensors as safetensors, under published or diffusers names.

    The file is mapped, and no weight is read. header: that of a safetensors file, if it was read already.

    Raises:
        InputError: the file is no Wan2.1 VAE, or its tensors are not exactly the expected ones.
    """
    published = map_tensors(path, header)
    looks = f"it looks like {describe({name: tuple(tensor.shape) for name, tensor in published.items()})}"
    names = to_diffusers(published)
    tensors = {names[name]: tensor for name, tensor in published.items()}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    config = config_from_shapes(shapes)
    if config is None:
        raise InputError(f"is not a Wan2.1 VAE; {looks}", field="vae", value=path)
    model = _empty(config)
    if len(model.config.latents_mean) != model.config.z_dim:
        rule = f"has {model.config.z_dim} latent channels; must be a Wan2.1 VAE, which has 16"
        raise InputError(rule, field="vae", value=path)
    if problem := disagreement({name: tensor.shape for name, tensor in model.state_dict().items()}, shapes):
        raise InputError(f"{problem}; {looks}", field="vae", value=path)
    return VaeFile(path, config, tensors)


def load_vae(file: VaeFile, device: torch.device | str, dtype: torch.dtype, cache_on_host: bool = False) -> WanVAE:
    """A VAE on `device` in `dtype`, built empty and filled from the mapped file: there is never a second copy.

    cache_on_host: keep the decoder's temporal cache, half of its memory, in host memory.
    """
    model = _empty(file.config)
    model.load_state_dict({name: tensor.on(device, dtype) for name, tensor in file.tensors.items()}, assign=True)
    upsample_in_place_of_fp32(model)
    if wants_channels_last(torch.device(device), dtype):
        channels_last(model)
    return WanVAE(model.eval().requires_grad_(False), cache_on_host)


def wants_channels_last(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether convolutions are to be stored channels last: on a processor it is faster in bfloat16, slower in fp32.

    On a GPU PyTorch keeps 3D convolutions in half precision away from cuDNN 9.8 to 9.14 unless they are; without it
    they take many times the memory.
    """
    if device.type == "cuda":
        return dtype in (torch.bfloat16, torch.float16)
    return device.type == "cpu" and dtype == torch.bfloat16


def _empty(config: dict[str, Any]) -> AutoencoderKLWan:
    """The modules, without memory."""
    with torch.device("meta"):
        return AutoencoderKLWan(**config)
