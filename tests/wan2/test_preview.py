"""Pictures of latents, with a VAE whose colours are linear by construction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from wan2.models.vae import WanVAE
from wan2.run.preview import fit_colours, preview_sheet
from wan2.run.vae import inspect_vae, load_vae

DATA = Path(__file__).parents[1] / "data"


class LinearVAE(WanVAE):
    """Latents are a fixed mixture of the mean colour of each 8x8x4 block."""

    def __init__(self) -> None:
        self.mix = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))

    def encode(self, video: Tensor) -> Tensor:
        first, rest = video[:, :, :1], video[:, :, 1:]
        blocks = torch.cat([F.avg_pool3d(first, (1, 8, 8)), F.avg_pool3d(rest, (4, 8, 8))], dim=2)
        return torch.einsum("zc,bcthw->bzthw", self.mix, blocks)


@pytest.mark.parametrize("colour", [(1, -1, -1), (-1, 1, -1), (0.5, 0.5, 0.5), (-0.2, 0.4, 0.9)])
def test_fitted_colours_are_the_pixels_colours(colour: tuple[float, ...]) -> None:
    vae = LinearVAE()
    colours = fit_colours(vae)
    latents = vae.encode(torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1, 1).expand(1, 3, 5, 32, 32))
    picture = preview_sheet(latents, colours)
    expected = [round((value + 1) * 127.5) for value in colour]
    assert all(abs(a - b) <= 4 for a, b in zip(picture.getpixel((8, 8)), expected, strict=True))


def test_a_real_network_can_be_fitted() -> None:
    colours = fit_colours(load_vae(inspect_vae(DATA / "vae.safetensors"), "cpu", torch.float32))
    assert colours.shape == (17, 3)
    assert torch.isfinite(colours).all()


@pytest.mark.parametrize(("frames", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (5, 4, 2), (12, 4, 3), (61, 4, 3)])
def test_sheet_shows_at_most_twelve_frames(frames: int, columns: int, rows: int) -> None:
    sheet = preview_sheet(torch.zeros(1, 16, frames, 60, 104), torch.zeros(17, 3))
    assert sheet.size == (columns * 104 * 3, rows * 60 * 3)


def test_sheet_runs_from_the_first_frame_to_the_last() -> None:
    latents = torch.zeros(1, 16, 61, 4, 4)
    latents[:, 0] = torch.linspace(-1, 1, 61).view(1, 61, 1, 1)
    colours = torch.zeros(17, 3)
    colours[0] = 1.0
    sheet = preview_sheet(latents, colours)
    assert sheet.getpixel((0, 0)) == (0, 0, 0)
    assert sheet.getpixel((sheet.width - 1, sheet.height - 1)) == (255, 255, 255)
