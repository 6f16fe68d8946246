"""Train the nano VAE: the decoder learns to draw from the linear code, the encoder to produce it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from torch.nn import functional as F

from holocine_ext.evaluate.nano_world.world import draw_frames, random_scene
from tools.nano.code import LinearCode, load_code, to_tensor
from tools.nano.state import Schedule, train
from tools.nano.vae_net import FrameVAE

DIM = 16
"""Base width of the shipped VAE; the real one has 96."""


def random_chunk(rng: Random) -> Tensor:
    """Four neighbouring frames of one shot: [1, 3, 4, 64, 64] in [-1, 1]."""
    frames = rng.choice((9, 17, 33, 65))
    scene = random_scene(rng, frames, [])
    start = rng.randrange(frames - 3)
    return to_tensor(draw_frames(scene, scene.shots[0], range(start, start + 4)))


def batch(rng: Random, code: LinearCode, first: bool, size: int) -> tuple[Tensor, Tensor]:
    """Frames [4N or N, 3, 64, 64] and their normalised latents [N, 16, 8, 8]; `first` makes single frames."""
    chunks = torch.cat([random_chunk(rng) for _ in range(size)])
    if first:
        chunks = chunks[:, :, :1].repeat(1, 1, 4, 1, 1)
    latents = code.encode_chunks(chunks)[:, :, 0]
    frames = chunks[:, :, :1] if first else chunks
    return frames.transpose(1, 2).flatten(0, 1), latents


def new_vae() -> FrameVAE:
    """The untrained network at the shipped width."""
    torch.manual_seed(0)
    published = inspect.signature(AutoencoderKLWan.__init__).parameters
    mean, std = (torch.tensor(published[name].default) for name in ("latents_mean", "latents_std"))
    return FrameVAE(DIM, mean, std).to(memory_format=torch.channels_last)


def train_vae(path: Path, steps: int, seed: int = 1, peak: float = 2e-3, encoder_every: int = 4) -> Iterator[str]:
    """Train from the state at `path` to `steps`; yields progress lines with the L1 error on [-1, 1]."""
    code, vae = load_code(), new_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=0.0)

    def loss_of(step: int, rng: Random) -> dict[str, Tensor]:
        first = step % 4 == 3
        frames, latents = batch(rng, code, first, size=32 if first else 16)
        frames = frames.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            losses = {"first" if first else "l1": F.l1_loss(vae.decode(latents, first).float(), frames)}
            if step // 4 % encoder_every == 0:
                losses["encoder"] = F.mse_loss(vae.encode(frames, first).float(), latents)
        return losses

    yield from train(path, vae, optimizer, loss_of, Schedule(steps, peak, seed, cooldown=0.25))


def reconstruct(vae: FrameVAE, code: LinearCode, frames: np.ndarray) -> Tensor:
    """Encode drawn frames uint8 [4t+1, 64, 64, 3] with the linear code, decode with the network: [4t+1, 3, 64, 64]."""
    latents = code.encode(to_tensor(frames))[0].transpose(0, 1)
    with torch.inference_mode():
        return torch.cat([vae.decode(latents[:1], True), vae.decode(latents[1:], False)])
