"""Latents of a video that come from elsewhere: loaded, held while the others are made, decoded as they were.

The VAE decodes a frame with what it remembers of those before. So that held frames come out as they did where they come
from, they are decoded from there, with the frames that stood before them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from einops import repeat
from torch import Tensor

from wan2.plan.pieces import ORIGIN, PIXELS, SOURCE, Draw, Origin, Piece, Source, part_of
from wan2.request.request import Request
from wan2.sampling.denoise import initial_noise
from wan2.sampling.held import Held
from wan2.shapes import TIME_STRIDE

if TYPE_CHECKING:
    from wan2.models.vae import WanVAE

Decode = Callable[[Tensor], Iterator[Tensor]]
"""Latents [1, 16, F, h, w] -> pixels [3, n, H, W] of every latent frame, in order."""


@dataclass(frozen=True)
class Footage:
    """Pieces of a video, and the latents that they come from, fp32 on the CPU; no longer than they are needed."""

    origin: Origin = Origin()
    tensors: Mapping[Source, Tensor] = field(default_factory=dict)

    def of(self, piece: Piece) -> Tensor:
        """The latents [1, 16, n, h, w] of a piece, as its source has them."""
        return self.tensors[piece.source][:, :, piece.first : piece.first + piece.count]

    def stored(self) -> dict[str, Tensor]:
        """The latents of the sources, under the names that `Origin.notes` gives them."""
        return {f"{SOURCE}{number}": self.tensors[source] for number, source in enumerate(self.origin.sources)}

    def texts(self) -> dict[str, str]:
        """What the metadata of a file with these latents says of them; nothing where there is nothing to say."""
        return {ORIGIN: json.dumps(self.origin.notes())} if self.origin != Origin() else {}

    def beside(self, latents: Tensor) -> Footage:
        """What finished latents [1, 16, F, h, w] do not say themselves: what they began from, what stood behind their
        end, and the pieces that other frames stand before.
        """
        pieces = tuple(piece for piece in self.origin.pieces if piece.until or not self._is_in(piece, latents))
        used = {piece.source: self.tensors[piece.source] for piece in pieces}
        return Footage(replace(self.origin, pieces=pieces), used)

    def _is_in(self, piece: Piece, latents: Tensor) -> bool:
        """Whether a piece lies in its source as it lies in the video, with the same frames before it."""
        source, stop = self.tensors[piece.source], piece.place + piece.count
        return piece.place == piece.first and torch.equal(latents[:, :, :stop], source[:, :, :stop])


def load_footage(origin: Origin, fps: float, vae: Callable[[], WanVAE]) -> Footage:
    """The latents of all sources, from their first frame to the last that a piece needs.

    Those of pictures and videos are made by `vae`, at so many frames per second.

    Raises:
        RunError: a picture that cannot be read.
    """
    stops = {source: 0 for source in origin.sources}
    for piece in origin.pieces:
        stops[piece.source] = max(stops[piece.source], piece.first + piece.count)
    cut = {source: _cut(source, stop) for source, stop in stops.items()}
    pieces = tuple(replace(piece, source=cut[piece.source]) for piece in origin.pieces)
    return Footage(replace(origin, pieces=pieces), {one: _load(one, fps, vae) for one in cut.values()})


def _cut(source: Source, stop: int) -> Source:
    return replace(source, shape=(*source.shape[:2], stop, *source.shape[3:]), noise=part_of(source.noise, 0, stop))


def _load(source: Source, fps: float, vae: Callable[[], WanVAE]) -> Tensor:
    if source.tensor == PIXELS:
        from wan2.run.pixels import encode_source

        return encode_source(source, fps, vae())
    from safetensors import safe_open

    with safe_open(source.path, "pt") as file:
        return file.get_slice(source.tensor)[:, :, : source.shape[2]]


def draw_noise(draws: Sequence[Draw], shape: Sequence[int]) -> Tensor:
    """The noise [1, 16, n, h, w] of draws, fp32 on the CPU. shape: of the video, [1, 16, F, h, w]."""
    parts = []
    for draw in draws:
        whole = initial_noise((*shape[:2], draw.frames, *shape[3:]), draw.seed)
        parts.append(whole[:, :, draw.first : draw.first + draw.length])
    return torch.cat(parts, dim=2)


def noise_of(request: Request, origin: Origin) -> Tensor:
    """The noise [1, 16, F, h, w] that a video begins from, fp32 on the CPU."""
    shape = (1, *request.shape.latent)
    return draw_noise(origin.noise, shape) if origin.noise else initial_noise(shape, request.seed)


def held_latents(footage: Footage, noise: Tensor, share: float, vae: Callable[[], WanVAE]) -> Held | None:
    """What is held while the rest is made; None when nothing is.

    Args:
        footage: the pieces.
        noise: of the whole video [1, 16, F, h, w]; it serves pieces whose own is not known.
        share: see `Held`.
        vae: opens the VAE, for a piece that begins a video here and not where it comes from, or the reverse.
    """
    pieces = footage.origin.pieces
    if not pieces:
        return None
    clean = [encode_anew(footage, piece, vae) for piece in pieces]
    return Held(
        torch.cat(clean, dim=2),
        torch.cat([_noise_of(piece, noise) for piece in pieces], dim=2),
        tuple(piece.place + frame for piece in pieces for frame in range(piece.count)),
        tuple(piece.until for piece in pieces for _ in range(piece.count)),
        share,
    )


def _noise_of(piece: Piece, noise: Tensor) -> Tensor:
    """The noise of a piece: its own where it is held to the end and that is known, else that of the video."""
    draws = part_of(piece.source.noise, piece.first, piece.count)
    if piece.until or sum(draw.length for draw in draws) != piece.count:
        return noise[:, :, piece.place : piece.place + piece.count]
    return draw_noise(draws, noise.shape)


def encode_anew(footage: Footage, piece: Piece, vae: Callable[[], WanVAE]) -> Tensor:
    """The latents of a piece where it lies: its first frame holds one frame at the beginning of a video, else four.

    Only the first latent frame is ever encoded again: from the last of its four frames, or from its one frame, which
    then stands still.
    """
    latents = footage.of(piece)
    if (piece.place == 0) == (piece.first == 0):
        return latents
    model = vae()
    *_, shown = model.decode_chunks(footage.tensors[piece.source][:, :, : piece.first + 1])
    frame = fitted(shown, 0)[None]
    chunks = [frame] if piece.place == 0 else [frame, fitted(frame[0], piece.place)[None]]
    *_, first = model.encode_chunks(iter(chunks))
    return torch.cat([first.cpu(), latents[:, :, 1:]], dim=2)


def fitted(pixels: Tensor, place: int) -> Tensor:
    """The pixels [3, n, H, W] of a latent frame with as many frames as one has there: one at 0, else four."""
    wanted = 1 if place == 0 else TIME_STRIDE
    if pixels.shape[1] == wanted:
        return pixels
    return repeat(pixels[:, -1:], "c 1 h w -> c n h w", n=wanted)


class _Take(NamedTuple):
    """Latents that are decoded from their first frame on, and shown from `start` on as the video's from `place` on."""

    latents: Tensor
    start: int
    place: int


def decode_all(latents: Tensor, footage: Footage, decode: Decode) -> Iterator[Tensor]:
    """Pixels [3, n, H, W] of every latent frame of a video, in order; pieces as their sources give them.

    Args:
        latents: of the video, [1, 16, F, h, w].
        footage: what `Footage.beside` leaves of its pieces.
        decode: the VAE.
    """
    for latents_of, start, place in _takes(latents, footage):
        for index, pixels in enumerate(decode(latents_of)):
            if index >= start:
                yield fitted(pixels, place + index - start)


def _takes(latents: Tensor, footage: Footage) -> Iterator[_Take]:
    place = 0
    shown = [piece for piece in footage.origin.pieces if piece.place < latents.shape[2]]
    for piece in (piece for piece in shown if piece.until == 0):
        if place < piece.place:
            yield _Take(latents[:, :, : piece.place], place, place)
        yield _Take(footage.tensors[piece.source][:, :, : piece.first + piece.count], piece.first, piece.place)
        place = piece.place + piece.count
    if place < latents.shape[2]:
        yield _Take(latents, place, place)
