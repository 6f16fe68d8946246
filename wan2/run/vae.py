"""The VAE of a run, from its file. Knows nothing of latents."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan

from wan2.models.vae import WanVAE, channels_last, upsample_in_place_of_fp32
from wan2.plan.files import naming
from wan2.weights.decode import FileTensor
from wan2.weights.header import CheckpointHeader
from wan2.weights.mapped import map_tensors
from wan2.weights.vae_names import to_diffusers
from wan2.weights.whole import vae_config


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
    with naming("vae", path):
        config = vae_config(path, header)
    published = map_tensors(path, header)
    names = to_diffusers(published)
    return VaeFile(path, config, {names[name]: tensor for name, tensor in published.items()})


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
