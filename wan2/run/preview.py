"""Latents as pictures without decoding them. Knows nothing of runs.

A colour is very nearly a linear function of the sixteen latent values at its place. The function is fitted to the VAE
at hand by encoding a test card, which takes a second and is right for any VAE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from wan2.shapes import SPACE_STRIDE, TIME_STRIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wan2.models.vae import WanVAE

CARD_FRAMES, CARD_SIZE, PATCH_SIZE = 9, 128, 16
CARD_SEED, GRAIN = 0, 0.15
RIDGE = 1e-3
SHEET_FRAMES, SHEET_COLUMNS, SHEET_WIDTH = 12, 4, 1600


def fit_colours(vae: WanVAE) -> Tensor:
    """The linear map [17, 3] from a latent pixel and a constant 1 to red, green and blue in [-1, 1]."""
    card = _test_card()
    latents = vae.encode(card)[0].cpu().double()
    shrunk = [
        F.avg_pool3d(frames, (stride, SPACE_STRIDE, SPACE_STRIDE))
        for frames, stride in ((card[:, :, :1], 1), (card[:, :, 1:], TIME_STRIDE))
    ]
    values = rearrange(_with_one(latents), "f h w c -> (f h w) c")
    colours = rearrange(torch.cat(shrunk, dim=2)[0].double(), "c f h w -> (f h w) c")
    gram = values.T @ values + RIDGE * len(values) * torch.eye(values.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, values.T @ colours).float()


def latent_pictures(latents: Tensor, colours: Tensor, indices: Sequence[int]) -> NDArray[np.uint8]:
    """Latent frames of latents [1, 16, F, h, w] as small pictures, uint8 [n, h, w, 3]."""
    from wan2.models.vae import to_uint8

    chosen = latents[0, :, list(indices)].float().cpu()
    return np.asarray(to_uint8(rearrange(_with_one(chosen) @ colours, "f h w c -> c f h w")).numpy())


def preview_sheet(latents: Tensor, colours: Tensor) -> Image.Image:
    """A sheet of at most twelve frames, evenly spread from first to last, of latents [1, 16, F, h, w]."""
    frames = latents.shape[2]
    count = min(frames, SHEET_FRAMES)
    pictures = latent_pictures(latents, colours, torch.linspace(0, frames - 1, count).round().long().tolist())
    height, width = pictures.shape[1:3]
    columns = min(count, SHEET_COLUMNS)
    scale = max(1, SHEET_WIDTH // (SHEET_COLUMNS * width))
    sheet = Image.new("RGB", (columns * width * scale, math.ceil(count / columns) * height * scale))
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        cell = Image.fromarray(picture).resize((width * scale, height * scale), Image.Resampling.BICUBIC)
        sheet.paste(cell, (column * width * scale, row * height * scale))
    return sheet


def _with_one(latents: Tensor) -> Tensor:
    """[C, F, h, w] -> [F, h, w, C + 1], the last value 1."""
    values = rearrange(latents, "c f h w -> f h w c")
    return torch.cat([values, torch.ones_like(values[..., :1])], dim=-1)


def _test_card() -> Tensor:
    """Pixels [1, 3, T, H, W] in [-1, 1]: patches of every colour drifting over slow gradients, some of them grainy."""
    generator = torch.Generator().manual_seed(CARD_SEED)
    cells = CARD_SIZE // PATCH_SIZE
    patches = torch.rand(3, cells, cells, generator=generator) * 2 - 1
    patches = patches.repeat_interleave(PATCH_SIZE, dim=1).repeat_interleave(PATCH_SIZE, dim=2)
    place = torch.linspace(0, 2 * math.pi, CARD_SIZE)
    tilt = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    gradients = torch.cos(tilt * place[:, None] + place / tilt)
    grain = torch.randn(3, CARD_SIZE, CARD_SIZE, generator=generator) * torch.linspace(0, GRAIN, CARD_SIZE)
    frames = [0.6 * patches.roll(2 * t, dims=2) + 0.4 * gradients + grain for t in range(CARD_FRAMES)]
    return torch.stack(frames, dim=1).clamp(-1, 1)[None]
