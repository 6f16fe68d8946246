"""The Wan2.1 VAE with every temporal tap on the past held at zero, as a network over single latent frames.

Key names are the checkpoint's own. A causal 3x3x3 convolution whose past taps are zero is a 3x3 one over frames,
so a latent frame decodes to its four frames (the first to one) alone: training needs no clips, and nothing can
drift over a long video. `export` writes the convolutions back into the shapes of the real file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MULTIPLIERS = (1, 2, 4, 4)
Z_DIM = 16


class Norm(nn.Module):
    """Channel RMS norm with a gain [C, 1, 1(, 1)]."""

    def __init__(self, channels: int, ones: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * ones))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1) * (math.sqrt(len(self.gamma)) * self.gamma.view(-1, 1, 1))


class Residual(nn.Module):
    """Norm, SiLU, convolution, twice, around a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            Norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1),
            Norm(outputs), nn.SiLU(), nn.Identity(), nn.Conv2d(outputs, outputs, 3, padding=1),
        )  # fmt: skip
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)


class SpatialAttention(nn.Module):
    """Single-head attention over the positions of a frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels, ones=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=-1)
        out = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).view_as(x)
        return x + self.proj(out)


class Up(nn.Module):
    """Twice the size, half the channels; with `temporal`, twice the frames first (not for the first latent)."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(channels, channels // 2, 3, padding=1)
        )
        if temporal:
            self.time_conv = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor, first: bool) -> Tensor:
        if hasattr(self, "time_conv") and not first:
            x = self.time_conv(x).unflatten(1, (2, -1)).flatten(0, 1)
        return self.resample(x)


class Down(nn.Module):
    """Half the size; with `temporal`, pairs of frames become one (not for the first frame)."""

    def __init__(self, channels: int, temporal: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))
        if temporal:
            self.time_conv = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, first: bool) -> Tensor:
        x = self.resample(x)
        if hasattr(self, "time_conv") and not first:
            x = self.time_conv(x.unflatten(0, (-1, 2)).flatten(1, 2))
        return x


class Coder(nn.Module):
    """Runs a coder's layers in file order."""

    def run(self, layers: list[nn.Module], x: Tensor, first: bool) -> Tensor:
        for layer in layers:
            x = layer(x, first) if isinstance(layer, Up | Down) else layer(x)
        return x


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(Residual(channels, channels), SpatialAttention(channels), Residual(channels, channels))


class Decoder(Coder):
    """Latents [N, 16, h, w] -> frames [4N or N, 3, 8h, 8w], the four frames of a latent side by side."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        dims = [dim * m for m in (MULTIPLIERS[-1], *reversed(MULTIPLIERS))]
        self.conv1 = nn.Conv2d(Z_DIM, dims[0], 3, padding=1)
        self.middle = _middle(dims[0])
        layers: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(zip(dims, dims[1:], strict=False)):
            width = inputs // 2 if stage else inputs
            layers += [Residual(width, outputs), Residual(outputs, outputs), Residual(outputs, outputs)]
            if stage < 3:
                layers.append(Up(outputs, temporal=stage < 2))
        self.upsamples = nn.ModuleList(layers)
        self.head = nn.Sequential(Norm(dims[-1]), nn.SiLU(), nn.Conv2d(dims[-1], 3, 3, padding=1))

    def forward(self, z: Tensor, first: bool) -> Tensor:
        x = self.run([self.conv1, self.middle, *self.upsamples], z, first)
        return self.head(x)


class Encoder(Coder):
    """Frames [4N or N, 3, H, W] -> moments [N, 32, H/8, W/8]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        dims = [dim * m for m in (1, *MULTIPLIERS)]
        self.conv1 = nn.Conv2d(3, dims[0], 3, padding=1)
        layers: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(zip(dims, dims[1:], strict=False)):
            layers += [Residual(inputs, outputs), Residual(outputs, outputs)]
            if stage < 3:
                layers.append(Down(outputs, temporal=stage > 0))
        self.downsamples = nn.ModuleList(layers)
        self.middle = _middle(dims[-1])
        self.head = nn.Sequential(Norm(dims[-1]), nn.SiLU(), nn.Conv2d(dims[-1], 2 * Z_DIM, 3, padding=1))

    def forward(self, frames: Tensor, first: bool) -> Tensor:
        x = self.run([self.conv1, *self.downsamples, self.middle], frames, first)
        return self.head(x)


class FrameVAE(nn.Module):
    """Both coders and the 1x1 convolutions between them, which carry the latents' mean and std [16] from the start."""

    def __init__(self, dim: int, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(dim), Decoder(dim)
        self.conv1, self.conv2 = nn.Conv2d(2 * Z_DIM, 2 * Z_DIM, 1), nn.Conv2d(Z_DIM, Z_DIM, 1)
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)
        with torch.no_grad():
            self.conv1.weight.copy_(torch.diag(torch.cat([std, torch.ones(Z_DIM)]))[..., None, None])
            self.conv1.bias.copy_(torch.cat([mean, torch.full((Z_DIM,), -10.0)]))
            self.conv2.weight.copy_(torch.diag(1 / std)[..., None, None])
            self.conv2.bias.copy_(-mean / std)

    def encode(self, frames: Tensor, first: bool) -> Tensor:
        """Frames in [-1, 1] -> normalised latents [N, 16, h, w]."""
        return (self.conv1(self.encoder(frames, first))[:, :Z_DIM] - self.mean) / self.std

    def decode(self, latents: Tensor, first: bool) -> Tensor:
        """Normalised latents [N, 16, h, w] -> frames in about [-1, 1]."""
        return self.decoder(self.conv2(latents * self.std + self.mean), first)

    def export(self) -> Iterator[tuple[str, Tensor]]:
        """Names and tensors of the real file's shapes, past taps zero."""
        for name, tensor in self.state_dict().items():
            if name.endswith("time_conv.weight"):
                yield name, _temporal_taps(tensor, pairs="encoder" in name)
            elif tensor.dim() == 4 and not any(part in name for part in ("resample", "to_qkv", "proj", "gamma")):
                size = 3 if tensor.shape[-1] == 3 else 1
                weight = tensor.new_zeros(*tensor.shape[:2], size, *tensor.shape[2:])
                weight[:, :, -1] = tensor
                yield name, weight
            else:
                yield name, tensor.clone()


def _temporal_taps(tensor: Tensor, pairs: bool) -> Tensor:
    """A 1x1 convolution [out, in, 1, 1] (or over a pair, [out, 2*in, 1, 1]) as taps [out, in, 3, 1, 1]."""
    taps = tensor.unflatten(1, (2, -1)).transpose(1, 2)[..., 0, 0] if pairs else tensor[..., 0]
    return F.pad(taps, (3 - taps.shape[-1], 0))[..., None, None].contiguous()
