"""The Wan2.1 video VAE, one latent frame at a time. Knows nothing of files.

The modules are diffusers' `AutoencoderKLWan`. Its own decode keeps every chunk on the device and concatenates after
each. Here each chunk is yielded at once, and only the decoder's temporal cache (two frames for each convolution) is
kept, so memory does not depend on the length of the video. The cache may be kept in host memory. The first latent frame
decodes to one frame, each later one to four.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResample, WanUpsample
from einops import rearrange
from torch import Tensor, nn

from wan2.errors import InputError
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
        """The tiles of one axis (0 rows, 1 columns) that cover `extent`; none is wholly inside the one before."""
        size, stride = self.size[axis], self.stride[axis]
        count = 1 + max(0, -(-(extent - size) // stride))
        return [slice(i * stride, min(i * stride + size, extent)) for i in range(count)]


class HostCache(list[Any]):
    """A decoder's temporal cache in host memory: what is stored is copied there, and back when it is asked for.

    On a GPU the host memory is pinned and nobody waits: copies are queued in order with the computation. What was asked
    for last is on the device until its place is stored to again.
    """

    def __init__(self, length: int) -> None:
        super().__init__([None] * length)
        self._back: tuple[int, Tensor] | None = None
        self._device = torch.device("cpu")

    def __setitem__(self, index: Any, value: Any) -> None:  # noqa: ANN401 - as of a list
        self._back = None
        if isinstance(value, Tensor):
            kept = super().__getitem__(index)
            fits = isinstance(kept, Tensor) and kept.shape == value.shape
            self._device = value.device
            value = (kept if fits else _host_like(value)).copy_(value, non_blocking=True)
        super().__setitem__(index, value)

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - as of a list
        kept = super().__getitem__(index)
        if not isinstance(kept, Tensor):
            return kept
        if self._back is None or self._back[0] != index:
            self._back = index, kept.to(self._device, non_blocking=True)
        return self._back[1]


def _host_like(value: Tensor) -> Tensor:
    """Host memory for a tensor: pinned for a GPU, where the system allows that much to be pinned."""
    with suppress(RuntimeError):
        return torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
    return torch.empty_like(value, device="cpu")


class WanVAE:
    """Latents to pixels and back. Latents are normalised (mean 0, deviation 1 a channel); pixels are in [-1, 1]."""

    def __init__(self, model: AutoencoderKLWan, cache_on_host: bool = False) -> None:
        self.model, self.cache_on_host = model, cache_on_host
        weight = model.post_quant_conv.weight
        self.device, self.dtype = weight.device, weight.dtype
        config = model.config
        self.mean = rearrange(torch.tensor(config.latents_mean, device=self.device), "c -> 1 c 1 1 1")
        self.std = rearrange(torch.tensor(config.latents_std, device=self.device), "c -> 1 c 1 1 1")

    @torch.inference_mode()
    def decode_chunks(self, latents: Tensor, tiles: Tiles | None = None) -> Iterator[Tensor]:
        """Pixels [3, n, H, W] of latents [1, 16, F, h, w], in order: one frame, then four at a time.

        Device memory does not depend on F if the caller releases each chunk. With `tiles`, see `decode`, it is that of
        one tile; the whole video is in host memory, in fp32, before the first chunk is yielded.
        """
        if tiles is None:
            for chunk in self._decoded(latents):
                yield chunk[0].clamp_(-1, 1)
            return
        pixels = self._blended(latents, tiles)[0]
        for start, stop in pairwise(_chunk_edges(pixels.shape[1])):
            yield pixels[:, start:stop]

    @torch.inference_mode()
    def decode(self, latents: Tensor, tiles: Tiles | None = None) -> Tensor:
        """Pixels [1, 3, T, H, W] of latents [1, 16, F, h, w], T = 4F - 3.

        With `tiles` each tile is decoded over all its frames and blended on the CPU in fp32: the device holds one
        tile's caches. Neighbours are blended by a linear ramp over the overlap, with the lower of both axes' weights.
        """
        return (
            torch.cat(list(self.decode_chunks(latents)), dim=1)[None]
            if tiles is None
            else self._blended(latents, tiles)
        )

    def _blended(self, latents: Tensor, tiles: Tiles) -> Tensor:
        """`decode` with tiles."""
        frames, rows, columns = latents.shape[2:]
        size = (TIME_STRIDE * (frames - 1) + 1, rows * SPACE_STRIDE, columns * SPACE_STRIDE)
        total, weights = torch.zeros(1, self.model.config.out_channels, *size), torch.zeros(size[1:])
        for row in tiles.along(0, rows):
            for column in tiles.along(1, columns):
                weight = _tile_weight(tiles, row, column, rows, columns)
                area = _in_pixels(row), _in_pixels(column)
                edges = pairwise(_chunk_edges(size[0]))
                for (start, stop), chunk in zip(edges, self._decoded(latents[..., row, column]), strict=True):
                    total[(..., slice(start, stop), *area)] += chunk.float().cpu() * weight
                weights[area] += weight
        return total.div_(weights).clamp_(-1, 1)

    @torch.inference_mode()
    def encode(self, video: Tensor) -> Tensor:
        """Normalised fp32 latents [B, 16, F, h, w] (the mean of the posterior) of pixels [B, 3, T, H, W], T = 4F - 3.

        The video may be in host memory: four frames at a time are on the device.

        Raises:
            InputError: a number of frames that is not 4t+1, or a size that is not a multiple of 8.
        """
        frames, height, width = video.shape[2:]
        if frames % TIME_STRIDE != 1 or height % SPACE_STRIDE or width % SPACE_STRIDE:
            raise InputError(f"video of {frames} frames of {height}x{width}: must be 4t+1 frames of a multiple of 8")
        chunks = (video[:, :, start:stop] for start, stop in pairwise(_chunk_edges(frames)))
        return torch.cat(list(self.encode_chunks(chunks)), dim=2)

    @torch.inference_mode()
    def encode_chunks(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """A latent frame, fp32 [B, 16, 1, h, w] on the device, for each chunk of pixels [B, 3, n, H, W] in order.

        The first chunk is one frame, every later one four; memory does not depend on their number.
        """
        cache = [None] * _cache_length(self.model.encoder)
        for chunk in chunks:
            features = self.model.encoder(chunk.to(self.device, self.dtype), feat_cache=cache, feat_idx=[0])
            mean, _ = self.model.quant_conv(features).float().chunk(2, dim=1)
            yield (mean - self.mean) / self.std

    def _decoded(self, latents: Tensor) -> Iterator[Tensor]:
        """Unclamped pixels [1, 3, n, H, W], a latent frame at a time."""
        length = _cache_length(self.model.decoder)
        cache = HostCache(length) if self.cache_on_host else [None] * length
        for frame in latents.split(1, dim=2):
            denormalised = frame.to(self.device, torch.float32) * self.std + self.mean
            features = self.model.post_quant_conv(denormalised.to(self.dtype))
            yield self.model.decoder(features, feat_cache=cache, feat_idx=[0])


def to_uint8(pixels: Tensor) -> Tensor:
    """Pictures [n, H, W, 3], uint8 on the CPU, of pixels [3, n, H, W] in [-1, 1]; truncated, as the original does."""
    scaled = pixels.float().add(1).mul_(127.5).clamp_(0, 255)
    return rearrange(scaled.to(torch.uint8), "c n h w -> n h w c").contiguous().cpu()


def channels_last(model: nn.Module) -> None:
    """Store the convolutions' weights channels last, which their outputs are then, too."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.to(memory_format=formats[weight.dim()])


def upsample_in_place_of_fp32(model: nn.Module) -> None:
    """Repeat pixels in their own dtype: diffusers goes through fp32, with the same bits and three times the memory."""
    for module in model.modules():
        if isinstance(module, WanResample) and isinstance(module.resample[0], WanUpsample):
            module.resample[0] = nn.Upsample(scale_factor=2.0, mode="nearest-exact")


def _cache_length(network: nn.Module) -> int:
    return sum(isinstance(module, WanCausalConv3d) for module in network.modules())


def _chunk_edges(frames: int) -> list[int]:
    """Where the chunks of a video begin and end: one frame, then four at a time."""
    return [0, *range(1, frames + 1, TIME_STRIDE)]


def _in_pixels(span: slice) -> slice:
    return slice(span.start * SPACE_STRIDE, span.stop * SPACE_STRIDE)


def _tile_weight(tiles: Tiles, row: slice, column: slice, rows: int, columns: int) -> Tensor:
    """Blending weight [H, W] of the pixels of one tile: 1 inside and along the picture's edge."""
    ramps = []
    for axis, (span, extent) in enumerate(((row, rows), (column, columns))):
        overlap = (tiles.size[axis] - tiles.stride[axis]) * SPACE_STRIDE
        ramps.append(_ramp((span.stop - span.start) * SPACE_STRIDE, overlap, span.start > 0, span.stop < extent))
    return torch.minimum(rearrange(ramps[0], "h -> h 1"), rearrange(ramps[1], "w -> 1 w"))


def _ramp(length: int, overlap: int, rises: bool, falls: bool) -> Tensor:
    """1 / overlap, 2 / overlap, ... 1 at the start and back at the end; where both would apply, it falls."""
    weight = torch.ones(length)
    slope = torch.arange(1, overlap + 1) / max(overlap, 1)
    if rises:
        weight[:overlap] = slope
    if falls:
        weight[length - overlap :] = slope.flip(0)
    return weight
