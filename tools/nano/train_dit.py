"""Train the nano text encoder and transformers: flow matching on the code's latents, dense and sparse attention both.

`train_base` trains one transformer, together with the text encoder, on all noise levels and both attentions.
`train_expert` goes on from it, text encoder fixed, on one expert's noise: first an expert for every variant, then one
from the mean of those, with both variants' attention in turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import UMT5Config, UMT5EncoderModel

from holocine_ext.attention import SparseInterShotAttention
from holocine_ext.layout import ShotLayout
from holocine_ext.spans import allowed_key_ranges, text_spans
from tools.nano.captions import describe
from tools.nano.code import LinearCode, fit_code, to_tensor
from tools.nano.state import load_model, train
from tools.nano.tokenizer import fit_tokenizer
from tools.nano.world import draw, random_cuts, random_scene
from wan2.conditioning import AttentionProcessor, Conditioning, dense_attention
from wan2.models.transformer import TransformerConfig, WanTransformer
from wan2.presets import NEGATIVE_PROMPT
from wan2.text import TokenizedPrompt, clean_prompt

TEXT_LENGTH = 512
TOKENS_PER_FRAME = 16
SHIFT = 5.0
BOUNDARY = 0.875
DROPOUT = 0.1
LENGTHS = (33, 33, 33, 49, 65)
TOKENS_PER_STEP = 3456


@dataclass(frozen=True)
class Course:
    """How long one expert is trained, and on what."""

    steps: int
    peak: float
    cooldown: float
    lengths: tuple[int, ...]
    seed: int


CONFIG = TransformerConfig(
    dim=144, in_dim=16, ffn_dim=576, out_dim=16, text_dim=64, freq_dim=256, eps=1e-6,
    patch_size=(1, 2, 2), num_heads=6, num_layers=6,
)  # fmt: skip


class TextAndVideo(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        config = UMT5Config(
            vocab_size=vocabulary, d_model=CONFIG.text_dim, d_kv=16, d_ff=128, num_layers=2, num_heads=4,
            dropout_rate=0.0, feed_forward_proj="gated-gelu", is_encoder_decoder=False,
        )  # fmt: skip
        self.text = UMT5EncoderModel(config)
        self.video = WanTransformer(CONFIG)
        nn.init.zeros_(self.video.head.head.weight)
        nn.init.zeros_(self.video.head.head.bias)


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


def window_bias(layout: ShotLayout, prompts: list[TokenizedPrompt]) -> WindowBias:
    """The bias for a batch of prompts of one layout; prompts without windows are seen whole."""
    longest = max(prompt.num_tokens for prompt in prompts)
    bias = torch.full((len(prompts), 1, layout.tokens, longest + 1), -math.inf)
    for row, prompt in zip(bias, prompts, strict=True):
        windows = allowed_key_ranges(text_spans(prompt), TEXT_LENGTH)
        row[..., -1] = math.log(TEXT_LENGTH - prompt.num_tokens)
        for shot, (a, b) in enumerate(layout.shots):
            for first, last in windows[shot] if windows else [(0, TEXT_LENGTH)]:
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
    cuts = random_cuts(rng, num_frames, rng.randint(1, {33: 3, 49: 4, 65: 5}[num_frames]))
    layout = ShotLayout(num_frames, tuple(cuts), TOKENS_PER_FRAME)
    size = TOKENS_PER_STEP // layout.tokens
    scenes = [random_scene(rng, num_frames, cuts) for _ in range(size)]
    latents = torch.cat([code.encode(to_tensor(draw(scene))) for scene in scenes])
    prompts = [describe(rng, scene).prompt for scene in scenes]
    dropped = ["", NEGATIVE_PROMPT]
    prompts = [rng.choice(dropped) if rng.random() < DROPOUT else prompt for prompt in prompts]
    return Batch(layout, latents, [tokenize(tokenizer, prompt) for prompt in prompts])


def random_sigmas(rng: Random, count: int, low: float, high: float) -> Tensor:
    """Noise levels between `low` and `high`, uniform before the schedule's shift; evenly spread over the batch."""
    bounds = [sigma / (SHIFT - (SHIFT - 1) * sigma) for sigma in (low, high)]
    u = [bounds[0] + (bounds[1] - bounds[0]) * (i + rng.random()) / count for i in range(count)]
    rng.shuffle(u)
    uniform = torch.tensor(u)
    return SHIFT * uniform / (1 + (SHIFT - 1) * uniform)


def flow_loss(
    video: WanTransformer, batch: Batch, context: Tensor, sigmas: Tensor, self_attn: AttentionProcessor
) -> Tensor:
    """Mean squared error of the predicted velocity, noise - latents (flow matching)."""
    noise = torch.randn_like(batch.latents)
    s = sigmas.view(-1, 1, 1, 1, 1)
    noisy = (1 - s) * batch.latents + s * noise
    conditioning = Conditioning(context, self_attn, window_bias(batch.layout, batch.prompts))
    velocity = video(noisy, 1000 * sigmas, conditioning)
    return F.mse_loss(velocity, noise - batch.latents)


def self_attention(variant: str, layout: ShotLayout) -> AttentionProcessor:
    """The self-attention of a variant, full or sparse."""
    return SparseInterShotAttention(layout) if variant == "sparse" else dense_attention


def new_model(tokenizer: Tokenizer) -> TextAndVideo:
    """The untrained networks."""
    torch.manual_seed(0)
    return TextAndVideo(tokenizer.get_vocab_size())


def train_base(path: Path, steps: int, seed: int = 2, peak: float = 1.5e-3) -> Iterator[str]:
    """Train text encoder and transformer from the state at `path` to `steps`; yields progress lines.

    The learning rate is held to the end: it falls while the experts are trained.
    """
    code, tokenizer = fit_code(), fit_tokenizer()
    model = new_model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)

    def loss_of(step: int, rng: Random) -> dict[str, Tensor]:
        variant = ("full", "sparse")[step % 2]
        batch = draw_batch(rng, code, tokenizer, LENGTHS)
        context = encode_text(model.text, batch.prompts)
        sigmas = random_sigmas(rng, len(batch.prompts), 0.0, 1.0)
        attention = self_attention(variant, batch.layout)
        return {variant: flow_loss(model.video, batch, context, sigmas, attention)}

    yield from train(path, model, optimizer, loss_of, steps, peak, seed, cooldown=0.0)


def train_expert(
    base: Path,
    starts: Sequence[Path],
    path: Path,
    variants: Sequence[str],
    noise: str,
    course: Course,
) -> Iterator[str]:
    """Train one expert (`high` or `low`), text encoder fixed, with the attention of each of `variants` in turn.

    It starts from the mean of the weights in `starts`, which are the base's own or grew from them.
    """
    code, tokenizer = fit_code(), fit_tokenizer()
    model = new_model(tokenizer)
    load_model(base, model)
    model.text.requires_grad_(False)
    weights = [video_weights(start) for start in starts]
    model.video.load_state_dict({name: torch.stack([w[name] for w in weights]).mean(dim=0) for name in weights[0]})
    optimizer = torch.optim.AdamW(model.video.parameters(), lr=course.peak, betas=(0.9, 0.98), weight_decay=0.01)
    low, high = (BOUNDARY, 1.0) if noise == "high" else (0.0, BOUNDARY)

    def loss_of(step: int, rng: Random) -> dict[str, Tensor]:
        variant = variants[step % len(variants)]
        batch = draw_batch(rng, code, tokenizer, course.lengths)
        sigmas = random_sigmas(rng, len(batch.prompts), low, high)
        context = encode_text(model.text, batch.prompts)
        attention = self_attention(variant, batch.layout)
        return {f"{variant} {noise}": flow_loss(model.video, batch, context, sigmas, attention)}

    yield from train(path, model.video, optimizer, loss_of, course.steps, course.peak, course.seed, course.cooldown)


def video_weights(state: Path) -> dict[str, Tensor]:
    """The transformer's weights in a state of `train_base` or of `train_expert`."""
    weights: dict[str, Tensor] = torch.load(state, weights_only=True)["model"]
    prefix = "video."
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)} or weights
