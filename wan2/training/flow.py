"""Flow matching: noise levels of a schedule, noisy latents, the velocity to predict. Knows nothing of transformers."""

from __future__ import annotations

from random import Random

from torch import Tensor


def noise_levels(rng: Random, count: int, shift: float, levels: tuple[float, float]) -> list[float]:
    """`count` noise levels between two, uniform before the schedule's shift, spread evenly and in random order."""
    low, high = (unshifted(sigma, shift) for sigma in levels)
    uniform = [low + (high - low) * (i + rng.random()) / count for i in range(count)]
    rng.shuffle(uniform)
    return [shift * u / (1 + (shift - 1) * u) for u in uniform]


def even_levels(count: int, shift: float, levels: tuple[float, float]) -> list[float]:
    """`count` noise levels between two that are the same every time: what losses are compared at."""
    low, high = (unshifted(sigma, shift) for sigma in levels)
    return [shift * u / (1 + (shift - 1) * u) for u in (low + (high - low) * (i + 0.5) / count for i in range(count))]


def unshifted(sigma: float, shift: float) -> float:
    """Where a noise level lies before the schedule's shift."""
    return sigma / (shift - (shift - 1) * sigma)


def noised(latents: Tensor, noise: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Noisy latents, and the velocity that leads there from clean ones."""
    return (1 - sigma) * latents + sigma * noise, noise - latents
