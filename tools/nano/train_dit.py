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

from holocine_ext.shots.attention import SparseInterShotAttention
from holocine_ext.shots.layout import ShotLayout
from tools.nano.ablated import ShotsApart
from tools.nano.batches import Batch, draw_batch, encode_text, noised, window_bias
from tools.nano.code import load_code
from tools.nano.hats import Hats, draw_hats
from tools.nano.shipped import load_expert, load_text
from tools.nano.state import Schedule, train
from tools.nano.tokenizer import fit_tokenizer
from tools.nano.train_text import DIM, new_text_encoder
from wan2.models.conditioning import AttentionProcessor, Conditioning, dense_attention
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

    With `hats` the loss counts once more where the hat is; with `mixed`, too, half of the scenes change it between
    shots. Without `windows` every shot sees the whole text.
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
    mixed: bool = False
    windows: bool = True

    def __post_init__(self) -> None:
        if self.mixed and not self.hats:
            raise ValueError("mixed hats are learnt where hats count")


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


SELF_ATTENTION: dict[str, Callable[[ShotLayout], AttentionProcessor]] = {
    "full": lambda _: dense_attention,
    "sparse": SparseInterShotAttention,
    "apart": ShotsApart,
}


def train_transformer(text: Path, start: Path | None, path: Path, course: Course) -> Iterator[str]:
    """Train a transformer from the state at `path` to the end of its course; yields progress lines.

    A new one starts from the weights in `start`, or untrained. Every batch is used once with the attention of each
    variant; `text` holds the text encoder. Both may be states or shipped files.
    """
    code, tokenizer = load_code(), fit_tokenizer()
    encoder, video = new_text_encoder(tokenizer), new_transformer()
    load_text(text, encoder)
    if start is not None:
        load_expert(start, video)
    optimizer = torch.optim.AdamW(video.parameters(), lr=course.peak, betas=(0.9, 0.98), weight_decay=0.01)

    @lru_cache(maxsize=1)
    def batch_of(index: int) -> tuple[Batch, Hats | None, Tensor]:
        rng = Random(course.seed * 1_000_003 + index)
        batch = draw_batch(rng, code, tokenizer, course.lengths, course.shots)
        hats = draw_hats(rng, code, batch) if course.hats else None
        with torch.no_grad():
            return batch, hats, encode_text(encoder.text, batch.prompts)

    def loss_of(step: int, rng: Random) -> dict[str, Tensor]:
        variant = course.variants[step % len(course.variants)]
        batch, hats, context = batch_of(step // len(course.variants))
        sigmas = random_sigmas(rng, len(batch.prompts), course.low, course.high)
        windows = window_bias(batch.layout, batch.prompts, course.windows)
        noise = torch.randn_like(batch.latents)
        noisy, velocity = hats.noised(sigmas, noise) if hats and course.mixed else noised(batch.latents, sigmas, noise)
        predicted = video(noisy, 1000 * sigmas, Conditioning(context, SELF_ATTENTION[variant](batch.layout), windows))
        error = (predicted - velocity).square()
        return {variant: error.mean()} | ({"hats": hats.error(error)} if hats else {})

    yield from train(path, video, optimizer, loss_of, Schedule(course.steps, course.peak, course.seed, course.cooldown))
