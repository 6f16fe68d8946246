"""The Wan2.1 video VAE, one latent frame at a time. Knows nothing of files but how to load its own.

The modules are diffusers' `AutoencoderKLWan`. Its own decode keeps every chunk on the device and concatenates after
each; here the chunks are handed out as they come, and only the decoder's feature cache (two frames a convolution)
lives on, so memory does not depend on the length of the video. The first latent frame makes one frame, each later one
four.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResample, WanUpsample
from torch import Tensor, nn

from wan2.errors import InputError
from wan2.loading.fit import disagreement
from wan2.loading.formats import describe
from wan2.loading.mapped import map_tensors
from wan2.models.vae_names import config_from_shapes, to_diffusers
from wan2.shapes import SPACE_STRIDE, TIME_STRIDE


@dataclass(frozen=True)
class Tiles:
    """Overlapping tiles of the latent plane, in latent pixels (rows, columns).

    Raises:
        InputError: a stride that is not between 1 and the tile's size leaves holes or never ends.
    """

    size: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        if not all(1 <= stride <= size for size, stride in zip(self.size, self.stride, strict=True)):
            raise InputError(f"tile stride {self.stride}: must lie between 1 and the tile size {self.size}")

    def along(self, axis: int, extent: int) -> list[slice]:
        """The tiles of one axis (0 rows, 1 columns) that cover `extent`; none lies wholly inside the one before."""
        size, stride = self.size[axis], self.stride[axis]
        count = 1 + max(0, -(-(extent - size) // stride))
        return [slice(i * stride, min(i * stride + size, extent)) for i in range(count)]


class WanVAE:
    """Latents to pixels and back. Latents are normalised (mean 0, deviation 1 a channel); pixels lie in [-1, 1]."""

    def __init__(self, model: AutoencoderKLWan) -> None:
        self.model = model
        weight = model.post_quant_conv.weight
        self.device, self.dtype = weight.device, weight.dtype
        size = (1, -1, 1, 1, 1)
        self.mean = torch.tensor(model.config.latents_mean, device=self.device).view(size)
        self.std = torch.tensor(model.config.latents_std, device=self.device).view(size)

    @torch.inference_mode()
    def decode_chunks(self, latents: Tensor) -> Iterator[Tensor]:
        """Pixels [3, n, H, W] of latents [1, 16, F, h, w], in order: one frame, then four at a time.

        Device memory is constant in F as long as the caller lets go of each chunk.
        """
        for chunk in self._decoded(latents):
            yield chunk[0].clamp_(-1, 1)

    @torch.inference_mode()
    def decode(self, latents: Tensor, tiles: Tiles | None = None) -> Tensor:
        """Pixels [1, 3, T, H, W] of latents [1, 16, F, h, w], T = 4F - 3.

        With `tiles` each tile is decoded over all its frames and blended on the CPU in fp32: the device holds one
        tile's caches. Neighbours blend by a linear ramp over the overlap, the lower of both axes' weights.
        """
        if tiles is None:
            return torch.cat(list(self.decode_chunks(latents)), dim=1)[None]
        frames, rows, columns = latents.shape[2:]
        size = (TIME_STRIDE * (frames - 1) + 1, rows * SPACE_STRIDE, columns * SPACE_STRIDE)
        total, weights = torch.zeros(1, self.model.config.out_channels, *size), torch.zeros(size[1:])
        for row in tiles.along(0, rows):
            for column in tiles.along(1, columns):
                weight = _tile_weight(tiles, row, column, rows, columns)
                area = (..., _in_pixels(row), _in_pixels(column))
                pixels = [chunk.float().cpu() for chunk in self._decoded(latents[..., row, column])]
                total[area] += torch.cat(pixels, dim=2) * weight
                weights[area] += weight
        return total.div_(weights).clamp_(-1, 1)

    @torch.inference_mode()
    def encode(self, video: Tensor) -> Tensor:
        """Normalised fp32 latents [B, 16, F, h, w] (the mean of the posterior) of pixels [B, 3, T, H, W], T = 4F - 3.

        Raises:
            InputError: a number of frames that is not 4t+1, or a size that is not a multiple of 8.
        """
        frames, height, width = video.shape[2:]
        if frames % TIME_STRIDE != 1 or height % SPACE_STRIDE or width % SPACE_STRIDE:
            raise InputError(f"video of {frames} frames of {height}x{width}: must be 4t+1 frames of a multiple of 8")
        cache = _empty_cache(self.model.encoder)
        edges = [0, *range(1, frames + 1, TIME_STRIDE)]
        encoded = []
        for start, stop in pairwise(edges):
            chunk = video[:, :, start:stop].to(self.device, self.dtype)
            features = self.model.encoder(chunk, feat_cache=cache, feat_idx=[0])
            encoded.append(self.model.quant_conv(features).float())
        mean, _ = torch.cat(encoded, dim=2).chunk(2, dim=1)
        return (mean - self.mean) / self.std

    def _decoded(self, latents: Tensor) -> Iterator[Tensor]:
        """Unclamped pixels [1, 3, n, H, W], a latent frame at a time."""
        cache = _empty_cache(self.model.decoder)
        for frame in latents.split(1, dim=2):
            denormalised = frame.to(self.device, torch.float32) * self.std + self.mean
            features = self.model.post_quant_conv(denormalised.to(self.dtype))
            yield self.model.decoder(features, feat_cache=cache, feat_idx=[0])


def to_uint8(pixels: Tensor) -> Tensor:
    """Pictures [n, H, W, 3], uint8 on the CPU, of pixels [3, n, H, W] in [-1, 1]; truncated, as the original does."""
    scaled = pixels.float().add(1).mul_(127.5).clamp_(0, 255)
    return scaled.to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu()


def load_vae(path: Path, device: torch.device | str, dtype: torch.dtype) -> WanVAE:
    """A VAE from `Wan2.1_VAE.pth`, or the same tensors as safetensors, under published or diffusers names.

    Built empty and filled from the mapped file: there is never a second copy.

    Raises:
        InputError: the file is no Wan2.1 VAE, or its tensors are not exactly the expected ones.
    """
    published = map_tensors(path)
    looks = f"it looks like {describe({name: tuple(tensor.shape) for name, tensor in published.items()})}"
    names = to_diffusers(published)
    tensors = {names[name]: tensor for name, tensor in published.items()}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    config = config_from_shapes(shapes)
    if config is None:
        raise InputError(f"--vae {path}: is not a Wan2.1 VAE; {looks}")
    with torch.device("meta"):
        model = AutoencoderKLWan(**config)
    if len(model.config.latents_mean) != model.config.z_dim:
        raise InputError(f"--vae {path}: has {model.config.z_dim} latent channels; must be a Wan2.1 VAE, which has 16")
    if problem := disagreement({name: tensor.shape for name, tensor in model.state_dict().items()}, shapes):
        raise InputError(f"--vae {path}: {problem}; {looks}")
    model.load_state_dict({name: tensor.on(device, dtype) for name, tensor in tensors.items()}, assign=True)
    _upsample_in_place_of_fp32(model)
    return WanVAE(model.eval().requires_grad_(False))


def _upsample_in_place_of_fp32(model: nn.Module) -> None:
    """Repeat pixels in their own dtype: diffusers' detour by fp32 gives the same bits at three times the memory."""
    for module in model.modules():
        if isinstance(module, WanResample) and isinstance(module.resample[0], WanUpsample):
            module.resample[0] = nn.Upsample(scale_factor=2.0, mode="nearest-exact")


def _empty_cache(network: nn.Module) -> list[Tensor | None]:
    return [None] * sum(isinstance(module, WanCausalConv3d) for module in network.modules())


def _in_pixels(span: slice) -> slice:
    return slice(span.start * SPACE_STRIDE, span.stop * SPACE_STRIDE)


def _tile_weight(tiles: Tiles, row: slice, column: slice, rows: int, columns: int) -> Tensor:
    """Blending weight [H, W] of the pixels of one tile: 1 inside and along the picture's edge."""
    ramps = []
    for axis, (span, extent) in enumerate(((row, rows), (column, columns))):
        overlap = (tiles.size[axis] - tiles.stride[axis]) * SPACE_STRIDE
        ramps.append(_ramp((span.stop - span.start) * SPACE_STRIDE, overlap, span.start > 0, span.stop < extent))
    return torch.minimum(ramps[0][:, None], ramps[1][None, :])


def _ramp(length: int, overlap: int, rises: bool, falls: bool) -> Tensor:
    """1 / overlap, 2 / overlap, ... 1 at the start and back at the end; where both would apply, the fall wins."""
    weight = torch.ones(length)
    slope = torch.arange(1, overlap + 1) / max(overlap, 1)
    if rises:
        weight[:overlap] = slope
    if falls:
        weight[length - overlap :] = slope.flip(0)
    return weight
