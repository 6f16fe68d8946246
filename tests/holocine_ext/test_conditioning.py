"""The attentions of both passes, and the mask channel."""

from __future__ import annotations

import pytest
import torch

from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.conditioning import mask_channel, plan_attentions
from holocine_ext.shots.layout import ShotLayout
from wan2.models.conditioning import dense_attention
from wan2.shapes import VideoShape

LAYOUT = ShotLayout(17, (5, 9), 4)
RANGES = [[(0, 20), (40, 512)], [(0, 10), (20, 30), (40, 512)], [(0, 10), (30, 512)]]


def test_only_the_prompt_has_windows_and_both_passes_share_the_sparse_attention():
    positive, negative = plan_attentions(LAYOUT, RANGES, True, dense_attention)
    assert positive.cross_attn == WindowCrossAttention(LAYOUT, tuple(map(tuple, RANGES)))
    assert positive.self_attn is negative.self_attn
    assert negative.self_attn == SparseInterShotAttention(LAYOUT)
    assert negative.cross_attn is dense_attention


def test_full_is_dense_and_a_text_without_windows_is_seen_whole():
    positive, negative = plan_attentions(LAYOUT, None, False, dense_attention)
    assert positive == negative
    assert (positive.self_attn, positive.cross_attn) == (dense_attention, dense_attention)


@pytest.mark.parametrize(
    ("kind", "values"),
    [("id", [0, 0, 1, 2, 2]), ("normalized", [0, 0, 0.05, 0.1, 0.1]), ("alternating", [0, 0, 1, 0, 0])],
)
def test_the_mask_tells_every_latent_frame_its_shot(kind: str, values: list[float]):
    mask = mask_channel(LAYOUT, kind, VideoShape(17, 32, 48))
    assert (mask.shape, mask.dtype) == ((1, 1, 5, 4, 6), torch.float32)
    assert torch.equal(mask, torch.tensor(values).view(1, 1, 5, 1, 1).expand(1, 1, 5, 4, 6))
