"""A forward beside diffusers' on the same weights: `python -m benchmarks.diffusers_side_by_side`.

Four ways through one transformer of width 1024, fp32 on the processor: diffusers' WanTransformer3DModel; ours with full
attention, which must give the same numbers; ours with sparse attention; and sparse attention the way HoloCine's
published code does a layer (rotation in complex128, queries, keys and values copied into one packed tensor, a mask over
the text, every result a new tensor). They take turns, every round in the reverse order of the one before; medians.

Seconds are those the processor worked for this process, all threads together: with one thread (OMP_NUM_THREADS=1) that
is the time on a machine that does nothing else. Memory is what the process's resident peak (VmHWM, set back before
every forward) rises above what it held.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import diffusers
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.machine import machine_line
from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.layout import ShotLayout, plan_layout
from wan2.models.conditioning import Conditioning, dense_attention
from wan2.models.layers import Block, Regions
from wan2.models.rope import Rope
from wan2.models.transformer import TransformerConfig, WanTransformer
from wan2.weights.names import native_name

CONFIG = TransformerConfig(
    dim=1024, in_dim=16, ffn_dim=2816, out_dim=16, text_dim=4096, freq_dim=256, eps=1e-6,
    patch_size=(1, 2, 2), num_heads=8, num_layers=2,
)  # fmt: skip
FRAMES, SHOTS, ROWS, COLUMNS = 241, 5, 32, 34
TEXT, PROMPT = 512, 180
# How many times as fast as diffusers at least, and the share of its memory at most.
MARKS, SHARE = {"full": 1.04, "sparse": 2.2}, 0.5
TOLERANCE = 1e-3


class Figures(NamedTuple):
    """What one forward took."""

    seconds: float
    peak: int


def window_ranges(layout: ShotLayout) -> tuple[tuple[tuple[int, int], ...], ...]:
    """A prompt of `PROMPT` tokens: a third for the whole scene, the rest shared out, the padding open to all."""
    start = PROMPT // 3
    step = (PROMPT - start) // layout.num_shots
    return tuple(
        ((0, start), (start + i * step, start + (i + 1) * step), (PROMPT, TEXT)) for i in range(layout.num_shots)
    )


@dataclass(frozen=True)
class PackedSparse:
    """Sparse attention over copies: everything every shot needs, packed into one tensor before any of it is used."""

    layout: ShotLayout

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v [B, L, H, D] -> [B, L, H, D]."""
        first_k, first_v = (torch.cat([x[:, a:b] for a, b in self.layout.first_frames], 1) for x in (k, v))
        packed_q = torch.cat([q[:, a:b] for a, b in self.layout.shots], 1)
        packed_k = torch.cat([torch.cat([k[:, a:b], first_k], 1) for a, b in self.layout.shots], 1)
        packed_v = torch.cat([torch.cat([v[:, a:b], first_v], 1) for a, b in self.layout.shots], 1)
        found, start = [], 0
        for a, b in self.layout.shots:
            end = start + b - a + first_k.shape[1]
            found.append(dense_attention(packed_q[:, a:b], packed_k[:, start:end], packed_v[:, start:end]))
            start = end
        return torch.cat(found, 1)


class MaskedCross:
    """Window cross-attention by a mask over all pairs of a token and a text position."""

    def __init__(self, layout: ShotLayout) -> None:
        self.mask = torch.zeros(1, 1, layout.tokens, TEXT, dtype=torch.bool)
        for (a, b), ranges in zip(layout.shots, window_ranges(layout), strict=True):
            for first, last in ranges:
                self.mask[..., a:b, first:last] = True

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B, Lq, H, D], k and v [B, Lk, H, D] -> [B, Lq, H, D]."""
        heads_first = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(*heads_first, attn_mask=self.mask).transpose(1, 2)


class PublishedBlock(Block):
    """A block as the published code writes it: every result a tensor of its own, positions as complex128 numbers."""

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        text: tuple[Tensor, Tensor],
        rope: Rope,
        conditioning: Conditioning,
        regions: Regions,
    ) -> Tensor:
        """See `Block`."""
        del regions
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.modulation.float() + time).chunk(6, dim=1)
        turns = torch.complex(rope.cos.double(), rope.sin.double())
        y = self._norm(x) * (1 + scale) + shift
        q, k = self._turned(self.self_attn.queries(y), turns), self._turned(self.self_attn.keys(y), turns)
        y = conditioning.self_attn(q, k, self.self_attn.values(y))
        x = x + self.self_attn.o(y.flatten(2)) * gate
        y = conditioning.cross_attn(self.cross_attn.queries(self.norm3(x)), *text)
        x = x + self.cross_attn.o(y.flatten(2))
        return x + self.ffn(self._norm(x) * (1 + ffn_scale) + ffn_shift) * ffn_gate

    def _norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), x.shape[-1:], eps=self.eps)

    @staticmethod
    def _turned(x: Tensor, turns: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turns).flatten(-2).float()


def build() -> tuple[diffusers.WanTransformer3DModel, WanTransformer, WanTransformer]:
    """diffusers' transformer, ours and the published way, all with the same random weights."""
    torch.manual_seed(1)
    theirs = diffusers.WanTransformer3DModel(
        num_attention_heads=CONFIG.num_heads,
        attention_head_dim=CONFIG.head_dim,
        text_dim=CONFIG.text_dim,
        ffn_dim=CONFIG.ffn_dim,
        num_layers=CONFIG.num_layers,
    ).eval()
    weights = {native_name(name): tensor for name, tensor in theirs.state_dict().items()}
    ours, published = WanTransformer(CONFIG), WanTransformer(CONFIG)
    published.blocks = nn.ModuleList(
        PublishedBlock(CONFIG.dim, CONFIG.ffn_dim, CONFIG.num_heads, CONFIG.eps) for _ in range(CONFIG.num_layers)
    )
    for model in (ours, published):
        model.load_state_dict(weights)
        model.requires_grad_(False).eval()
    return theirs, ours, published


def ways(layout: ShotLayout) -> dict[str, Callable[[], Tensor]]:
    """The four forwards, by name."""
    theirs, ours, published = build()
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(1, CONFIG.in_dim, layout.latent_frames, ROWS, COLUMNS, generator=generator)
    context = torch.randn(1, TEXT, CONFIG.text_dim, generator=generator)
    context[:, PROMPT:] = 0
    timestep = torch.tensor([900.0])
    windows = WindowCrossAttention(layout, window_ranges(layout))
    full, sparse = Conditioning(context), Conditioning(context, SparseInterShotAttention(layout), windows)
    packed = Conditioning(context, PackedSparse(layout), MaskedCross(layout))
    return {
        "diffusers": lambda: theirs(latents, timestep, context).sample,
        "full": lambda: ours(latents, timestep, full),
        "sparse": lambda: ours(latents, timestep, sparse),
        "published sparse": lambda: published(latents, timestep, packed),
    }


def status(field: str) -> int:
    """A line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def measure(forward: Callable[[], Tensor]) -> tuple[Figures, Tensor]:
    """One forward: its time, and how far the resident peak rose in it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, start = status("VmRSS"), time.process_time()
    with torch.inference_mode():
        out = forward()
    return Figures(time.process_time() - start, status("VmHWM") - before), out


def padding_seconds(layout: ShotLayout) -> tuple[float, float]:
    """A layer's cross-attention over all positions, and over the text and one key for all padding: medians."""
    generator = torch.Generator().manual_seed(3)
    q = torch.randn(1, layout.tokens, CONFIG.num_heads, CONFIG.head_dim, generator=generator)
    k, v = torch.randn(2, 1, TEXT, CONFIG.num_heads, CONFIG.head_dim, generator=generator)
    k[:, PROMPT:], v[:, PROMPT:] = k[:, PROMPT : PROMPT + 1].clone(), v[:, PROMPT : PROMPT + 1].clone()
    bias = torch.zeros(PROMPT + 1)
    bias[PROMPT] = torch.tensor(float(TEXT - PROMPT)).log()
    few = slice(PROMPT + 1)

    def collapsed() -> Tensor:
        heads_first = (x.transpose(1, 2) for x in (q, k[:, few], v[:, few]))
        return F.scaled_dot_product_attention(*heads_first, attn_mask=bias.expand(1, 1, 1, -1)).transpose(1, 2)

    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(5):
        (whole, a), (one, b) = measure(lambda: dense_attention(q, k, v)), measure(collapsed)
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        taken[0].append(whole.seconds)
        taken[1].append(one.seconds)
    return statistics.median(taken[0]), statistics.median(taken[1])


def missed(taken: dict[str, list[Figures]]) -> list[str]:
    """The marks that are missed, in words."""
    seconds, peaks = medians(taken)
    slow = [f"{name} < {mark:g}x" for name, mark in MARKS.items() if seconds["diffusers"] / seconds[name] < mark]
    large = [f"{name} > {SHARE:g} of the memory" for name in MARKS if peaks[name] > SHARE * peaks["diffusers"]]
    return slow + large


def medians(taken: dict[str, list[Figures]]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds and peaks of each way."""
    seconds = {name: statistics.median(f.seconds for f in figures) for name, figures in taken.items()}
    return seconds, {name: statistics.median(f.peak for f in figures) for name, figures in taken.items()}


def table(layout: ShotLayout, taken: dict[str, list[Figures]], off: float, padding: tuple[float, float]) -> list[str]:
    """The result, a line a way."""
    seconds, peaks = medians(taken)
    first = seconds["diffusers"]
    lines = [
        machine_line() + f", diffusers {diffusers.__version__}",
        f"model      width {CONFIG.dim}, {CONFIG.num_layers} layers, {CONFIG.num_heads} heads, fp32, random weights",
        f"work       {FRAMES} frames, {layout.tokens} tokens, {layout.num_shots} shots, {TEXT} text positions; "
        f"{len(taken['full'])} forwards each, both orders, medians",
        "",
        "                  seconds  diffusers / this   mark  peak, MB  of diffusers'",
    ]
    for name in taken:
        mark = f">= {MARKS[name]:.2f}" if name in MARKS else "-"
        lines.append(
            f"{name:16} {seconds[name]:8.2f}  {first / seconds[name]:16.2f} {mark:>7} {peaks[name] / 1e6:8.0f}  "
            f"{peaks[name] / peaks['diffusers']:12.2f}"
        )
    return [
        *lines,
        "",
        f"sparse beside the published way of the same layer: {seconds['published sparse'] / seconds['sparse']:.2f}x",
        f"full differs from diffusers by {off:.1e} of its norm",
        f"cross-attention of a layer: {padding[0]:.2f} s over all positions, {padding[1]:.2f} s over the text and one "
        f"key for the padding; a layer is {seconds['full'] / CONFIG.num_layers:.2f} s",
        "",
        "On a GPU: not measured.",
    ]


def main() -> int:
    """Run the rounds, print the table; 1 when a mark is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.diffusers_side_by_side", description=(__doc__ or "")[:74])
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    layout = plan_layout(FRAMES, SHOTS, None, ROWS * COLUMNS // 4)
    forwards = ways(layout)
    taken: dict[str, list[Figures]] = {name: [] for name in forwards}
    results: dict[str, Tensor] = {}
    for number in range(args.rounds):
        for name in list(forwards)[:: -1 if number % 2 else 1]:
            figures, results[name] = measure(forwards[name])
            taken[name].append(figures)
            sys.stderr.write(f"round {number + 1}: {name} {figures.seconds:.1f} s, {figures.peak / 1e6:.0f} MB\n")

    def off(name: str, other: str) -> float:
        return float((results[name] - results[other]).norm() / results[other].norm())

    if max(off("full", "diffusers"), off("sparse", "published sparse")) > TOLERANCE:
        sys.stderr.write("the forwards do not agree: nothing to compare\n")
        return 1
    sys.stdout.write("\n".join(table(layout, taken, off("full", "diffusers"), padding_seconds(layout))) + "\n")
    sys.stdout.write("".join(f"MISSED: {mark}\n" for mark in missed(taken)))
    return int(bool(missed(taken)))


if __name__ == "__main__":
    sys.exit(main())
