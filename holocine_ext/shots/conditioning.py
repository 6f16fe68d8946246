"""A plan made into what the base is given: the attentions of both passes, and for some checkpoints a channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.layout import Range, ShotLayout, shot_mask
from wan2.models.conditioning import AttentionProcessor, Attentions
from wan2.shapes import VideoShape


def plan_attentions(
    layout: ShotLayout,
    key_ranges: Sequence[Sequence[Range]] | None,
    sparse: bool,
    dense: AttentionProcessor,
) -> tuple[Attentions, Attentions]:
    """The attentions of the passes with the prompt and with the negative prompt.

    Args:
        layout: the shots.
        key_ranges: for every shot the text positions it may see; None opens the whole text to all. Only the prompt
            has windows: the negative prompt is seen whole.
        sparse: whether self-attention is sparse between shots, in both passes.
        dense: the kernel under both.
    """
    self_attn = SparseInterShotAttention(layout, dense) if sparse else dense
    windows = None if key_ranges is None else WindowCrossAttention(layout, tuple(map(tuple, key_ranges)), dense)
    return Attentions(self_attn, windows or dense), Attentions(self_attn, dense)


def mask_channel(layout: ShotLayout, kind: str, shape: VideoShape) -> Tensor:
    """The latent channel [1, 1, F, h, w], fp32, that tells a 17-channel checkpoint which shot a frame belongs to."""
    values = torch.tensor(shot_mask(layout, kind)).view(1, 1, -1, 1, 1)
    return values.expand(1, *shape.latent_size(channels=1)).contiguous()
