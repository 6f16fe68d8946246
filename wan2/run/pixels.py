"""Pictures and videos made into latents, which are held like those of an earlier run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor

from wan2.errors import RunError
from wan2.plan.pictures import PICTURES, fit
from wan2.plan.pieces import Source
from wan2.plan.saved_latents import TENSOR
from wan2.request.output import LATENT_SUFFIX
from wan2.shapes import SPACE_STRIDE, TIME_STRIDE

if TYPE_CHECKING:
    from wan2.models.vae import WanVAE


def encode_source(source: Source, fps: float, vae: WanVAE) -> Tensor:
    """The latents [1, 16, F, h, w], fp32 on the CPU, of a source of pixels.

    It is a picture, which stands still; a video, brought to so many frames per second; or latents of another size,
    which are decoded for it.

    Raises:
        RunError: the file can no longer be read.
    """
    _, _, count, rows, columns = source.shape
    try:
        shown = _pictures(source.path, fps, vae)
        size = columns * SPACE_STRIDE, rows * SPACE_STRIDE
        chunks = _chunks((to_pixels(place(picture, size)) for picture in shown), count)
        latents = torch.cat([chunk.cpu() for chunk in vae.encode_chunks(chunks)], dim=2)
    except OSError as error:
        raise RunError(f"{source.path}: cannot be read ({error})") from error
    if latents.shape[2] != count:
        raise RunError(f"{source.path}: has become too short")
    return latents


def _pictures(path: Path, fps: float, vae: WanVAE) -> Iterator[Image.Image]:
    """The frames that a file shows, one after the other; a picture without end."""
    if path.suffix.lower() in PICTURES:
        with Image.open(path) as opened:
            yield from repeat(_opaque(ImageOps.exif_transpose(opened)))
    elif path.suffix == LATENT_SUFFIX:
        from wan2.models.vae import to_uint8

        for chunk in vae.decode_chunks(load_file(path)[TENSOR]):
            yield from map(Image.fromarray, to_uint8(chunk).numpy())
    else:
        from wan2.run.video_io import timed_frames

        yield from sampled(timed_frames(path), fps)


def sampled(frames: Iterable[tuple[float, Image.Image]], fps: float) -> Iterator[Image.Image]:
    """Frames at a steady rate: at each of its moments the one that is shown then; the last one goes on without end.

    frames: with the seconds from which each is shown.
    """
    shown, number = None, 0
    for time, picture in frames:
        while shown is not None and (number + 0.5) / fps < time:
            yield shown
            number += 1
        shown = picture
    if shown is not None:
        yield from repeat(shown)


def _chunks(frames: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    """Pixels [1, 3, n, H, W] of so many latent frames: one frame, then four at a time."""
    for number in range(count):
        found = list(islice(frames, TIME_STRIDE if number else 1))
        if len(found) == (TIME_STRIDE if number else 1):
            yield torch.cat(found, dim=2)


def to_pixels(picture: Image.Image) -> Tensor:
    """A picture as pixels [1, 3, 1, H, W] in [-1, 1]."""
    return rearrange(torch.from_numpy(np.array(picture)), "h w c -> 1 c 1 h w") / 127.5 - 1


def place(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture of colours in a frame of (width, height), as `fit` says; a border has the mean colour of its edge."""
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
