"""Which of the two experts takes a step. Knows nothing of models.

Source: Wan2.2: the high-noise expert while the timestep is at or above the boundary, then the low-noise one for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from wan2.sampling.schedule import TRAIN_TIMESTEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

Expert = Literal["high", "low"]


def first_low_noise_step(timesteps: Sequence[float], boundary: float) -> int:
    """Index of the first step below `boundary` (a share of 1000); the number of steps when none is."""
    below = (index for index, timestep in enumerate(timesteps) if timestep < boundary * TRAIN_TIMESTEPS)
    return next(below, len(timesteps))


def expert_steps(timesteps: Sequence[float], boundary: float, start: int = 0) -> list[tuple[Expert, range]]:
    """The steps each expert takes from `start` on, in order; an expert without steps is not listed."""
    switch = max(start, first_low_noise_step(timesteps, boundary))
    shares: list[tuple[Expert, range]] = [("high", range(start, switch)), ("low", range(switch, len(timesteps)))]
    return [(expert, steps) for expert, steps in shares if steps]
