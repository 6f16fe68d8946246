"""The attentions without what they are for: what the ablation compares the real ones with. Nothing else uses these."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holocine_ext.shots.layout import ShotLayout
from wan2.models.conditioning import AttentionProcessor, dense_attention


@dataclass(frozen=True)
class ShotsApart:
    """Sparse inter-shot self-attention without summary tokens: the queries of a shot see that shot and nothing else."""

    layout: ShotLayout
    dense: AttentionProcessor = dense_attention

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v [B, L, H, D] with L the tokens of the layout -> [B, L, H, D]."""
        return torch.cat([self.dense(q[:, a:b], k[:, a:b], v[:, a:b]) for a, b in self.layout.shots], dim=1)
