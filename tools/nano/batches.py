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

from holocine_ext.evaluate.nano_world.captions import describe
from holocine_ext.evaluate.nano_world.world import Scene, draw, random_cuts, random_scene
from holocine_ext.shots.layout import ShotLayout
from holocine_ext.shots.spans import allowed_key_ranges, text_spans
from tools.nano.code import LinearCode, to_tensor
from wan2.request.request import NEGATIVE_PROMPT
from wan2.text.tokenizer import TokenizedPrompt, clean_prompt

TEXT_LENGTH = 512
TOKENS_PER_FRAME = 16
TOKENS_PER_STEP = 3456
DROPOUT = 0.1
DROPPED = ("", NEGATIVE_PROMPT)
"""What takes the place of a prompt that is dropped."""
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
    """Scenes of one layout, their clean latents [B, 16, F, 8, 8] and prompts; `captioned` [B]: not dropped."""

    layout: ShotLayout
    scenes: list[Scene]
    latents: Tensor
    prompts: list[TokenizedPrompt]
    captioned: Tensor


def draw_batch(
    rng: Random, code: LinearCode, tokenizer: Tokenizer, lengths: Sequence[int], shots: Sequence[int]
) -> Batch:
    """Scenes drawn at random, of one of `lengths` and as many `shots` as fit it, all cut at the same frames.

    A tenth of the prompts are dropped.
    """
    num_frames = rng.choice(lengths)
    cuts = random_cuts(rng, num_frames, rng.choice([count for count in shots if count <= MOST_SHOTS[num_frames]]))
    layout = ShotLayout(num_frames, tuple(cuts), TOKENS_PER_FRAME)
    size = TOKENS_PER_STEP // layout.tokens
    scenes = [random_scene(rng, num_frames, cuts) for _ in range(size)]
    latents = encode_scenes(code, scenes)
    whole_prompts = [describe(rng, scene).prompt for scene in scenes]
    prompts = [rng.choice(DROPPED) if rng.random() < DROPOUT else prompt for prompt in whole_prompts]
    captioned = torch.tensor([prompt == whole for prompt, whole in zip(prompts, whole_prompts, strict=True)])
    return Batch(layout, scenes, latents, [tokenize(tokenizer, prompt) for prompt in prompts], captioned)


def encode_scenes(code: LinearCode, scenes: list[Scene]) -> Tensor:
    """Latents [B, 16, F, 8, 8] of scenes of one length."""
    return torch.cat([code.encode(to_tensor(draw(scene))) for scene in scenes])


def noised(latents: Tensor, sigmas: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy latents, and the velocity that leads there from clean ones (flow matching)."""
    s = sigmas.view(-1, 1, 1, 1, 1)
    return (1 - s) * latents + s * noise, noise - latents
