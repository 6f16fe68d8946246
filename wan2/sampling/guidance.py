"""Classifier-free guidance. Knows nothing of steps or of which expert is at work."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from einops import rearrange

if TYPE_CHECKING:
    from torch import Tensor

    from wan2.models.conditioning import Conditioning
    from wan2.models.transformer import Passes
    from wan2.sampling.step_cache import StepCache


def guide(positive: Tensor, negative: Tensor, scale: float | tuple[float, ...]) -> Tensor:
    """negative + scale * (positive - negative), as in Ho & Salimans, "Classifier-Free Diffusion Guidance".

    scale: one number, or one for each frame of velocities [B, 16, F, h, w].
    """
    towards = positive - negative
    if isinstance(scale, tuple):
        return negative + rearrange(towards.new_tensor(scale), "f -> 1 1 f 1 1") * towards
    return negative + scale * towards


class Level(NamedTuple):
    """One step's place on the schedule: the timestep (0 to 1000) as a tensor, the noise level, the guidance scale, or
    one for each latent frame.
    """

    timestep: Tensor
    sigma: float
    scale: float | tuple[float, ...]

    @property
    def guided(self) -> bool:
        """Whether the negative pass changes anything."""
        return self.scale != 1.0 and set(self.scale if isinstance(self.scale, tuple) else ()) != {1.0}


def predict_velocity(
    model: Passes,
    latents: Tensor,
    level: Level,
    positive: Conditioning,
    negative: Conditioning | None,
    cache: StepCache,
) -> tuple[Tensor, int]:
    """Guided velocity of the latents, in their dtype, and how many passes of the model it took.

    At scale 1.0 the negative pass changes nothing and is not run. `cache` may spare the passes of this noise level.
    Raises `ValueError` when a scale other than 1.0 has no negative conditioning to guide away from.
    """
    scale = level.scale
    if level.guided and negative is None:
        raise ValueError(f"guidance scale {scale} needs a negative conditioning")
    passes = [positive, negative] if level.guided and negative is not None else [positive]
    velocities = cache.foresee(latents, level.sigma, len(passes))
    run = 0 if velocities else len(passes)
    if velocities is None:
        velocities = model.passes(latents, level.timestep, passes)
        cache.keep(latents, level.sigma, velocities)
    return (velocities[0] if len(passes) == 1 else guide(velocities[0], velocities[1], scale)), run
