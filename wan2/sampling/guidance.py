"""Classifier-free guidance. Knows nothing of steps or of which expert is at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from wan2.conditioning import Conditioning
    from wan2.models.transformer import WanTransformer


def guide(positive: Tensor, negative: Tensor, scale: float) -> Tensor:
    """negative + scale * (positive - negative), as in Ho & Salimans, "Classifier-Free Diffusion Guidance"."""
    return negative + scale * (positive - negative)


def predict_velocity(
    model: WanTransformer,
    latents: Tensor,
    timestep: Tensor,
    positive: Conditioning,
    negative: Conditioning | None,
    scale: float,
) -> Tensor:
    """Guided velocity of the latents, in their dtype. At scale 1.0 the negative pass changes nothing and is not run.

    Raises `ValueError` when a scale other than 1.0 has no negative conditioning to guide away from.
    """
    if scale == 1.0:
        return model(latents, timestep, positive)
    if negative is None:
        raise ValueError(f"guidance scale {scale} needs a negative conditioning")
    towards, away = model.passes(latents, timestep, [positive, negative])
    return guide(towards, away, scale)
