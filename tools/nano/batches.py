"""Batches of drawn scenes as the transformer sees them: latents of the code, prompts, and their windows as a bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from transformers import UMT5EncoderModel

from holocine_ext.layout import ShotLayout
from holocine_ext.spans import allowed_key_ranges, text_spans
from tools.nano.captions import describe
from tools.nano.code import LinearCode, to_tensor
from tools.nano.world import draw, random_cuts, random_scene
from wan2.presets import NEGATIVE_PROMPT
from wan2.text import TokenizedPrompt, clean_prompt

TEXT_LENGTH = 512
TOKENS_PER_FRAME = 16
TOKENS_PER_STEP = 3456
DROPOUT = 0.1
MOST_SHOTS = {33: 3, 49: 4, 65: 5, 97: 6}
"""Lengths in frames, and how many shots one may have."""


@dataclass(frozen=True)
class WindowBias:
    """Window cross-attention for a batch whose prompts differ: `WindowCrossAttention` as a bias on the scores.

    `bias` is [B, 1, Lq, Lk]: minus infinity on keys a query may not see; the last key stands for all padding, which is
    one vector, with the logarithm of how often it occurs.
    """

    bias: Tensor

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B, Lq, H, D], k and v [B, Lk, H, D] -> [B, Lq, H, D]."""
        out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), self.bias)
        return out.transpose(1, 2)


def tokenize(tokenizer: Tokenizer, prompt: str) -> TokenizedPrompt:
    """Clean and tokenize a prompt as the command line does."""
    text = clean_prompt(prompt)
    encoded = tokenizer.encode(text)
    return TokenizedPrompt(text, tuple(encoded.ids), tuple(encoded.offsets))


def window_bias(layout: ShotLayout, prompts: list[TokenizedPrompt], windows: bool = True) -> WindowBias:
    """The bias for a batch of prompts of one layout. Without windows a prompt is seen whole."""
    longest = max(prompt.num_tokens for prompt in prompts)
    bias = torch.full((len(prompts), 1, layout.tokens, longest + 1), -math.inf)
    for row, prompt in zip(bias, prompts, strict=True):
        ranges = allowed_key_ranges(text_spans(prompt), TEXT_LENGTH) if windows else None
        row[..., -1] = math.log(TEXT_LENGTH - prompt.num_tokens)
        for shot, (a, b) in enumerate(layout.shots):
            for first, last in ranges[shot] if ranges else [(0, TEXT_LENGTH)]:
                row[:, a:b, first : min(last, prompt.num_tokens)] = 0.0
    return WindowBias(bias)


def encode_text(encoder: UMT5EncoderModel, prompts: list[TokenizedPrompt]) -> Tensor:
    """Embeddings [B, longest + 1, dim], zero after each prompt's last token (so the last position always is)."""
    longest = max(prompt.num_tokens for prompt in prompts)
    ids = torch.tensor([[*prompt.ids, *[0] * (longest + 1 - prompt.num_tokens)] for prompt in prompts])
    mask = torch.arange(longest + 1) < torch.tensor([[prompt.num_tokens] for prompt in prompts])
    hidden = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return hidden * mask.unsqueeze(-1)


@dataclass(frozen=True)
class Batch:
    """Clean latents [B, 16, F, 8, 8] of one layout, and their prompts."""

    layout: ShotLayout
    latents: Tensor
    prompts: list[TokenizedPrompt]


def draw_batch(rng: Random, code: LinearCode, tokenizer: Tokenizer, lengths: Sequence[int]) -> Batch:
    """Scenes drawn at random, of one of `lengths`, all cut at the same frames; a tenth of the prompts dropped."""
    num_frames = rng.choice(lengths)
    cuts = random_cuts(rng, num_frames, rng.randint(1, MOST_SHOTS[num_frames]))
    layout = ShotLayout(num_frames, tuple(cuts), TOKENS_PER_FRAME)
    size = TOKENS_PER_STEP // layout.tokens
    scenes = [random_scene(rng, num_frames, cuts) for _ in range(size)]
    latents = torch.cat([code.encode(to_tensor(draw(scene))) for scene in scenes])
    prompts = [describe(rng, scene).prompt for scene in scenes]
    dropped = ["", NEGATIVE_PROMPT]
    prompts = [rng.choice(dropped) if rng.random() < DROPOUT else prompt for prompt in prompts]
    return Batch(layout, latents, [tokenize(tokenizer, prompt) for prompt in prompts])
