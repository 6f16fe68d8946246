"""Pictures made into latents, which are held like those of an earlier run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps
from torch import Tensor

from wan2.errors import RunError
from wan2.plan.pictures import fit
from wan2.plan.pieces import Source
from wan2.shapes import SPACE_STRIDE, TIME_STRIDE

if TYPE_CHECKING:
    from wan2.models.vae import WanVAE


def encode_source(source: Source, vae: WanVAE) -> Tensor:
    """The latents [1, 16, F, h, w], fp32 on the CPU, of a source of pixels: a picture that stands still.

    Raises:
        RunError: the file can no longer be read.
    """
    _, _, frames, rows, columns = source.shape
    picture = to_pixels(fitted_picture(source.path, (columns * SPACE_STRIDE, rows * SPACE_STRIDE)))
    return torch.cat([chunk.cpu() for chunk in vae.encode_chunks(_still(picture, frames))], dim=2)


def _still(picture: Tensor, frames: int) -> Iterator[Tensor]:
    yield picture
    for _ in range(frames - 1):
        yield picture.expand(-1, -1, TIME_STRIDE, -1, -1)


def to_pixels(picture: Image.Image) -> Tensor:
    """A picture as pixels [1, 3, 1, H, W] in [-1, 1]."""
    return rearrange(torch.from_numpy(np.array(picture)), "h w c -> 1 c 1 h w") / 127.5 - 1


def fitted_picture(path: Path, size: tuple[int, int]) -> Image.Image:
    """A picture brought to (width, height), as `fit` says; a border has the mean colour of the picture's edge.

    Raises:
        RunError: it can no longer be read.
    """
    try:
        with Image.open(path) as opened:
            picture = _opaque(ImageOps.exif_transpose(opened))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
    return place(picture, size)


def place(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture of colours in a frame of (width, height), as `fit` says."""
    how = fit(picture.size, size)
    drawn = picture.crop(how.crop).resize(how.inner, Image.Resampling.LANCZOS)
    if how.inner == how.outer:
        return drawn
    frame = Image.new("RGB", size, _edge_colour(picture))
    (width, height), (inner_width, inner_height) = how.outer, how.inner
    frame.paste(drawn, ((width - inner_width) // 2, (height - inner_height) // 2))
    return frame


def _opaque(picture: Image.Image) -> Image.Image:
    """In colours; what shines through is white."""
    shown = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")


def _edge_colour(picture: Image.Image) -> tuple[int, int, int]:
    pixels = np.array(picture, dtype=np.float64)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (round(value) for value in edge.mean(axis=0))
    return red, green, blue
