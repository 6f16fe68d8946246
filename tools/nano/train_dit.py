"""Train the nano transformers: flow matching on the code's latents, dense and sparse attention both.

The text encoder is fixed. A course says on which noise levels and with which attentions: a base on all of them, the
experts, which grow from it, on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

from holocine_ext.attention import SparseInterShotAttention
from holocine_ext.layout import ShotLayout
from tools.nano.ablated import ShotsApart
from tools.nano.batches import Batch, draw_batch, encode_text, window_bias
from tools.nano.code import load_code
from tools.nano.state import load_model, train
from tools.nano.tokenizer import fit_tokenizer
from tools.nano.train_text import DIM, new_text_encoder
from wan2.conditioning import AttentionProcessor, Attentions, Conditioning, dense_attention
from wan2.models.transformer import TransformerConfig, WanTransformer

SHIFT = 5.0
BOUNDARY = 0.875
BOTH = ("full", "sparse")
LENGTHS = (33, 33, 49, 65, 97)
"""Frames of the clips that are trained on, as often as they stand here."""
SHOTS = (1, 2, 3, 4, 5, 6)
"""Their numbers of shots, as often as they stand here, where that many fit."""


@dataclass(frozen=True)
class Course:
    """How one transformer is trained: on noise levels `low` to `high`, with the attention of each variant in turn.

    Without `windows` every shot sees the whole text. With `hats` the loss counts once more where the hat is: it covers
    little of the picture, and no caption names it, so it is learnt last. As a prompt tells where the hat is, the
    prediction that is best stays the same.
    """

    steps: int
    peak: float
    cooldown: float
    seed: int
    low: float = 0.0
    high: float = 1.0
    variants: tuple[str, ...] = BOTH
    lengths: tuple[int, ...] = LENGTHS
    shots: tuple[int, ...] = SHOTS
    hats: bool = False
    windows: bool = True


CONFIG = TransformerConfig(
    dim=144, in_dim=16, ffn_dim=576, out_dim=16, text_dim=DIM, freq_dim=256, eps=1e-6,
    patch_size=(1, 2, 2), num_heads=6, num_layers=6,
)  # fmt: skip


def new_transformer() -> WanTransformer:
    """The untrained network; it predicts zero."""
    torch.manual_seed(0)
    video = WanTransformer(CONFIG)
    nn.init.zeros_(video.head.head.weight)
    nn.init.zeros_(video.head.head.bias)
    return video


def random_sigmas(rng: Random, count: int, low: float, high: float) -> Tensor:
    """Noise levels between `low` and `high`, uniform before the schedule's shift; evenly spread over the batch."""
    bounds = [sigma / (SHIFT - (SHIFT - 1) * sigma) for sigma in (low, high)]
    u = [bounds[0] + (bounds[1] - bounds[0]) * (i + rng.random()) / count for i in range(count)]
    rng.shuffle(u)
    uniform = torch.tensor(u)
    return SHIFT * uniform / (1 + (SHIFT - 1) * uniform)


def flow_error(video: WanTransformer, batch: Batch, context: Tensor, sigmas: Tensor, attentions: Attentions) -> Tensor:
    """Squared error of the predicted velocity, noise - latents (flow matching): [B, 16, F, 8, 8]."""
    noise = torch.randn_like(batch.latents)
    s = sigmas.view(-1, 1, 1, 1, 1)
    noisy = (1 - s) * batch.latents + s * noise
    velocity = video(noisy, 1000 * sigmas, Conditioning(context, attentions.self_attn, attentions.cross_attn))
    return (velocity - (noise - batch.latents)).square()


SELF_ATTENTION: dict[str, Callable[[ShotLayout], AttentionProcessor]] = {
    "full": lambda _: dense_attention,
    "sparse": SparseInterShotAttention,
    "apart": ShotsApart,
}


def train_transformer(text: Path, start: Path | None, path: Path, course: Course) -> Iterator[str]:
    """Train a transformer from the state at `path` to the end of its course; yields progress lines.

    A new one starts from the weights in the state `start`, or untrained. Every batch is used once with the attention of
    each variant; `text` is the state of the text encoder.
    """
    code, tokenizer = load_code(), fit_tokenizer()
    encoder, video = new_text_encoder(tokenizer), new_transformer()
    load_model(text, encoder)
    if start is not None:
        load_model(start, video)
    optimizer = torch.optim.AdamW(video.parameters(), lr=course.peak, betas=(0.9, 0.98), weight_decay=0.01)

    @lru_cache(maxsize=1)
    def batch_of(index: int) -> tuple[Batch, Tensor]:
        batch = draw_batch(Random(course.seed * 1_000_003 + index), code, tokenizer, course.lengths, course.shots)
        with torch.no_grad():
            return batch, encode_text(encoder.text, batch.prompts)

    def loss_of(step: int, rng: Random) -> dict[str, Tensor]:
        variant = course.variants[step % len(course.variants)]
        batch, context = batch_of(step // len(course.variants))
        sigmas = random_sigmas(rng, len(batch.prompts), course.low, course.high)
        windows = window_bias(batch.layout, batch.prompts, course.windows)
        attentions = Attentions(SELF_ATTENTION[variant](batch.layout), windows)
        error = flow_error(video, batch, context, sigmas, attentions)
        losses = {variant: error.mean()}
        if course.hats:
            there = batch.hats.expand_as(error)
            losses["hats"] = error[there].sum() / there.sum().clamp_min(1)
        return losses

    yield from train(path, video, optimizer, loss_of, course.steps, course.peak, course.seed, course.cooldown)
