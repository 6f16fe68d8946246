"""What training does for the hat, which no caption names: it counts more, and shots that disagree are shown the way.

The hat is a small part of the picture, and all that tells a shot of it is what the noise leaves of the other shots. Two
things help, and neither changes what is best to predict for a scene. The loss is taken once more where the hat is,
which captions and cuts tell. And shots are given different hats, with the way back to one of them as the target: which
one the noisy latents speak for is known exactly, since all else of the scene is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from holocine_ext.evaluate.nano_world.world import HATS
from tools.nano.batches import Batch, encode_scenes, noised
from tools.nano.code import LinearCode

SHOWS = 0.05
"""How much a latent's 16 numbers must change in all with the hat to count as showing it."""
UNDECIDED = 0.5
"""Sigma below which hats are not mixed: a film in the making has settled on them by then."""
DECIDED = 0.2
"""Sigma below which the hat is taken as known; what remains of the noise is too little to divide by."""


@dataclass(frozen=True)
class Hats:
    """The hats of a batch.

    `first` and `second` are its latents [B, 16, F, 8, 8] with the hats that are worn, and with others; in `mixed` every
    shot has one or the other by chance. `where` [B, 1, F, 8, 8] is true where the hat shows, nowhere without a caption.
    """

    first: Tensor
    second: Tensor
    mixed: Tensor
    where: Tensor

    def error(self, error: Tensor) -> Tensor:
        """The mean of `error` [B, 16, F, 8, 8] over what shows the hat, zero when nothing does."""
        there = self.where.expand_as(error)
        return error[there].sum() / there.sum().clamp_min(1)

    def noised(self, sigmas: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latents, of every other scene with mixed hats where `sigmas` [B] leave it undecided, and the velocity.

        The velocity leads to the mean of what the latents can be, everyone in the first hat or everyone in the second.
        """
        s = sigmas.view(-1, 1, 1, 1, 1)
        changed = (torch.arange(len(sigmas)) % 2 == 0) & (sigmas > UNDECIDED)
        clean = torch.where(changed.view_as(s), self.mixed, self.first)
        noisy, velocity = noised(clean, sigmas, noise)
        towards = (noisy - self.expected(noisy, sigmas)) / s.clamp_min(DECIDED)
        return noisy, torch.where(s > DECIDED, towards, velocity)

    def expected(self, noisy: Tensor, sigmas: Tensor) -> Tensor:
        """E[latents | noisy], where they are `first` or `second`, as likely as each other, and noise is normal."""
        s = sigmas.view(-1, 1, 1, 1, 1)
        distances = [(noisy - (1 - s) * clean).square().flatten(1).sum(dim=1) for clean in (self.first, self.second)]
        share = torch.softmax(-torch.stack(distances) / (2 * sigmas.square()), dim=0).view(2, *s.shape)
        return share[0] * self.first + share[1] * self.second


def draw_hats(rng: Random, code: LinearCode, batch: Batch) -> Hats:
    """Draw the scenes of a batch once more in other hats."""
    others = [replace(scene, hat=rng.choice([hat for hat in HATS if hat != scene.hat])) for scene in batch.scenes]
    second = encode_scenes(code, others)
    where = (batch.latents - second).abs().sum(dim=1, keepdim=True) > SHOWS
    frames = [b - a for a, b in batch.layout.latents]
    swapped = torch.tensor([[rng.random() < 0.5 for _ in frames] for _ in others])
    swapped = swapped.repeat_interleave(torch.tensor(frames), dim=1).view(len(others), 1, -1, 1, 1)
    mixed = torch.where(swapped, second, batch.latents)
    return Hats(batch.latents, second, mixed, where & batch.captioned.view(-1, 1, 1, 1, 1))
