"""A linear code of 4x8x8 pixel blocks: the teacher whose 16 numbers a block the VAE learns. Knows nothing of networks.

The code that is used lies in `code.safetensors` next to this file: VAE and transformers depend on it to the last digit,
and principal components are not the same to the last digit on every machine. `fit_code` makes such a code.

A latent frame of Wan's VAE stands for four frames, the first one for a single frame; the code of a single frame
is that of the frame repeated four times. Components are principal components, each divided by the square root of
its spread, so that large ones lead without drowning small ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from holocine_ext.evaluate.nano_world.world import draw, random_cuts, random_scene

PATCH = 8
CHANNELS = 16
FILE = Path(__file__).with_name("code.safetensors")


@dataclass(frozen=True)
class LinearCode:
    """`encode(blocks) = (blocks - mean) @ basis`; `decode` is its least-squares inverse."""

    mean: Tensor
    basis: Tensor
    inverse: Tensor

    def encode(self, video: Tensor) -> Tensor:
        """Video [B, 3, T, H, W] in [-1, 1], T = 4t+1 -> latents [B, 16, t+1, H/8, W/8]."""
        return self.encode_chunks(torch.cat([video[:, :, :1].repeat(1, 1, 3, 1, 1), video], dim=2))

    def encode_chunks(self, video: Tensor) -> Tensor:
        """Video [B, 3, 4n, H, W] of whole chunks -> latents [B, 16, n, H/8, W/8]."""
        return ((blocks_of(video) - self.mean) @ self.basis).permute(0, 4, 1, 2, 3).contiguous()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, 16, t+1, h, w] -> video [B, 3, 4t+1, 8h, 8w]."""
        blocks = latents.permute(0, 2, 3, 4, 1) @ self.inverse + self.mean
        b, t, h, w, _ = blocks.shape
        video = blocks.view(b, t, h, w, 3, 4, PATCH, PATCH).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return video.reshape(b, 3, t * 4, h * PATCH, w * PATCH)[:, :, 3:]


def blocks_of(video: Tensor) -> Tensor:
    """Video [B, 3, 4n, H, W] -> its blocks [B, n, H/8, W/8, 3*4*8*8]."""
    b, c, t, h, w = video.shape
    blocks = video.view(b, c, t // 4, 4, h // PATCH, PATCH, w // PATCH, PATCH)
    return blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, t // 4, h // PATCH, w // PATCH, -1)


def to_tensor(frames: np.ndarray) -> Tensor:
    """Drawn frames uint8 [T, H, W, 3] -> float32 [1, 3, T, H, W] in [-1, 1]."""
    return torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def load_code() -> LinearCode:
    """The code that VAE and transformers were trained on."""
    tensors = load_file(FILE)
    return LinearCode(tensors["mean"], tensors["basis"], tensors["inverse"])


def save_code(code: LinearCode) -> None:
    """Make `code` the one that is used."""
    save_file({name: getattr(code, name).contiguous() for name in ("mean", "basis", "inverse")}, FILE)


def fit_code(seed: int = 0, clips: int = 400) -> LinearCode:
    """Fit the code on `clips` random clips of 17 frames."""
    rng = Random(seed)
    dim = 3 * 4 * PATCH * PATCH
    total, second, count = torch.zeros(dim, dtype=torch.float64), torch.zeros(dim, dim, dtype=torch.float64), 0
    for _ in range(clips):
        video = to_tensor(draw(random_scene(rng, 17, random_cuts(rng, 17, rng.choice([1, 2])))))
        padded = torch.cat([video[:, :, :1].repeat(1, 1, 3, 1, 1), video], dim=2)
        blocks = blocks_of(padded).reshape(-1, dim).double()
        total, second, count = total + blocks.sum(0), second + blocks.T @ blocks, count + len(blocks)
    mean = total / count
    values, vectors = torch.linalg.eigh(second / count - torch.outer(mean, mean))
    values, vectors = values[-CHANNELS:].flip(0), vectors[:, -CHANNELS:].flip(1)
    spread = values.sqrt()
    scale = spread.sqrt() / spread.sqrt().square().mean().sqrt()
    basis = vectors * (scale / spread)
    inverse = (vectors * (spread / scale)).T
    return LinearCode(mean.float(), basis.float(), inverse.contiguous().float())
