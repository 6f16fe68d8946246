"""The reference figures of the transformer, and its attention windows the slow and obvious way."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from wan2.models.conditioning import AttentionProcessor
from wan2.models.transformer import TransformerConfig

DATA = Path(__file__).parents[1] / "data"
CASES = json.loads((DATA / "dit_cases.json").read_text())
TENSORS = load_file(DATA / "dit_cases.safetensors")
CONFIG = TransformerConfig(**CASES["config"] | {"patch_size": tuple(CASES["config"]["patch_size"])})


def masked(allowed: Tensor) -> AttentionProcessor:
    """Attention to the keys a mask [Lq, Lk] allows, the slow and obvious way."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        return scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2)

    return attend


def windows(case: dict) -> AttentionProcessor:
    tokens = torch.tensor(case["shot_indices"]).repeat_interleave(case["height"] * case["width"] // 256)
    spans = [case["global"], *case["shots"]]
    last = max(end for _, end in spans)
    allowed = torch.zeros(len(case["shots"]), 512, dtype=torch.bool)
    allowed[:, last + 1 :] = True
    for part, span in enumerate(case["shots"]):
        for start, end in (case["global"], span):
            allowed[part, start : end + 1] = True
    return masked(allowed[tokens])
