"""The Wan2.2 transformer with its native key names. Knows nothing of experts, guidance or where weights come from.

Source: Wan2.1/2.2 T2V (github.com/Wan-Video): 1x2x2 patches, one time modulation per pass, fp32 modulation and norms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from wan2.models.attention import Range
from wan2.models.chunks import chunks
from wan2.models.config import TransformerConfig
from wan2.models.layers import REGIONS, Block, Head
from wan2.models.rope import rope_table

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from wan2.models.branches import Branches, Strengths, Turns
    from wan2.models.conditioning import Conditioning

__all__ = ["Passes", "TransformerConfig", "WanTransformer"]

Rows = Sequence[Range] | None
"""Ranges of tokens of a clip; None is all of them."""


class Passes(Protocol):
    """What denoising asks of a transformer."""

    config: TransformerConfig

    @property
    def dtype(self) -> torch.dtype:
        """The compute dtype."""
        ...

    def passes(self, latents: Tensor, timestep: Tensor, conditionings: Sequence[Conditioning]) -> list[Tensor]:
        """The velocity of each pass, like the latents."""
        ...


class WanTransformer(nn.Module):
    """Velocity of a noisy latent clip, given its timestep and the conditioning of the pass."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config, self.regions = config, REGIONS
        self.branches: Branches | None = None
        dim = config.dim
        self.patch_embedding = nn.Conv3d(config.in_dim, dim, config.patch_size, stride=config.patch_size)
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(
            Block(dim, config.ffn_dim, config.num_heads, config.eps) for _ in range(config.num_layers)
        )
        self.head = Head(dim, config.out_dim * math.prod(config.patch_size), config.eps)

    @property
    def dtype(self) -> torch.dtype:
        """The compute dtype: that of the patch embedding."""
        return self.patch_embedding.weight.dtype

    def forward(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Velocity [B, out_dim, F, h, w] of latents [B, C, F, h, w] at timestep (0..1000, [B] or scalar).

        The result has the dtype of the latents; everything between runs in the compute dtype.
        """
        (velocity,) = self.run_together(latents, timestep, [conditioning])
        return velocity

    def passes(
        self, latents: Tensor, timestep: Tensor, conditionings: Sequence[Conditioning], rows: Rows = None
    ) -> list[Tensor]:
        """`forward` for every conditioning, to the same bits; see `run_together` for `rows`.

        Here one after the other, so that only one pass is in memory; a model that has to fetch its blocks runs them
        together.
        """
        return [self.run_together(latents, timestep, [one], rows)[0] for one in conditionings]

    def take_blocks(self) -> Generator[Block]:
        """The blocks in order; each is valid until the next is asked for."""
        yield from self.blocks  # type: ignore[misc]

    def run_together(
        self, latents: Tensor, timestep: Tensor, conditionings: Sequence[Conditioning], rows: Rows = None
    ) -> list[Tensor]:
        """`forward` for every conditioning together, block by block: every block is taken once.

        With `rows`, for these tokens of the clip alone, one range after the other; the attentions must be for them.
        They come back as patches, [B, n, prod(patch) * out_dim] in the compute dtype, for `unpatchify`.
        """
        grid = self.grid(latents)
        rope = rope_table(grid, self.config.head_dim, latents.device).pick(rows)
        time, time_per_block = self.embed_time(timestep)
        turns = [self._turns(one.strengths, latents.device, rows) for one in conditionings]
        regions = [self.regions if turn is None else self.regions._replace(at=turn.tokens) for turn in turns]
        texts = [_Text(self, *each) for each in zip(conditionings, turns, strict=True)]
        streams = [self.patchify(_joined(latents, one).to(self.dtype), rows) for one in conditionings]
        with closing(self.take_blocks()) as blocks:
            for index, block in enumerate(blocks):
                with nullcontext() if self.branches is None else self.branches.beside(index, block):
                    for i, conditioning in enumerate(conditionings):
                        text = texts[i].keys(index, block)
                        streams[i] = block(streams[i], time_per_block, text, rope, conditioning, regions[i])
        patches = [self.head(x, time) for x in streams]
        return patches if rows else [self.unpatchify(x, grid).to(latents.dtype) for x in patches]

    def grid(self, latents: Tensor) -> tuple[int, ...]:
        """Tokens of latents [B, C, F, h, w] over time, height and width."""
        return tuple(size // patch for size, patch in zip(latents.shape[2:], self.config.patch_size, strict=True))

    def _turns(self, strengths: Sequence[Strengths], device: torch.device, rows: Rows) -> Turns | None:
        return None if self.branches is None else self.branches.turn(strengths, device, rows)

    def embed_time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """fp32 time embedding [B, 1, dim] and its projection [B, 6, dim], of a timestep as it is given.

        The waves are computed where the timestep is: on the host, since Apple's GPUs have no float64.
        """
        position = timestep.double().reshape(-1, 1)
        half = self.config.freq_dim // 2
        rates = 10000.0 ** -(torch.arange(half, dtype=torch.float64, device=position.device) / half)
        wave = torch.cat([(position * rates).cos(), (position * rates).sin()], dim=1).float()
        wave = wave.to(next(self.time_embedding.parameters()).device)
        time = _in_fp32(self.time_embedding[2], F.silu(_in_fp32(self.time_embedding[0], wave)))
        projected = _in_fp32(self.time_projection[1], F.silu(time))
        return time.unsqueeze(1), rearrange(projected, "b (parts d) -> b parts d", parts=6)

    def patchify(self, latents: Tensor, rows: Rows = None) -> Tensor:
        """[B, C, F, h, w] -> tokens [B, L, dim], or those of `rows`. The patches do not overlap: it is one linear.

        When no gradient is recorded, the tokens start one token into their memory: for a chunk at byte 0, a compiled
        graph would be compiled again, so no chunk starts there.
        """
        pf, ph, pw = self.config.patch_size
        tokens = rearrange(latents, "b c (f pf) (h ph) (w pw) -> b (f h w) (c pf ph pw)", pf=pf, ph=ph, pw=pw)
        if rows:
            tokens = torch.cat([tokens[:, a:b] for a, b in rows], dim=1)
        weight, bias = self.patch_embedding.weight.flatten(1), self.patch_embedding.bias
        if torch.is_grad_enabled():
            return F.linear(tokens, weight, bias)
        stream = tokens.new_empty(tokens.shape[0], tokens.shape[1] + 1, len(weight))[:, 1:]
        for a, b in chunks(0, tokens.shape[1]):
            stream[:, a:b] = F.linear(tokens[:, a:b], weight, bias)
        return stream

    def unpatchify(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        """[B, L, prod(patch) * out_dim] -> [B, out_dim, F, h, w]; within a token, channels run fastest."""
        sizes = dict(zip(("f", "h", "w", "pf", "ph", "pw"), (*grid, *self.config.patch_size), strict=True))
        return rearrange(tokens, "b (f h w) (pf ph pw c) -> b c (f pf) (h ph) (w pw)", **sizes)


class _Text:
    """The text of one pass: its keys and values for each block, computed once if the pass keeps them."""

    def __init__(self, model: WanTransformer, conditioning: Conditioning, turns: Turns | None) -> None:
        self.turns = turns
        self.kept = conditioning.text_keys
        complete = self.kept is not None and len(self.kept) == model.config.num_layers
        self.embedded = None if complete else model.text_embedding(conditioning.context.to(model.dtype))

    def keys(self, index: int, block: Block) -> tuple[Tensor, Tensor]:
        """Keys and values for a block, each [B, 512, H, D]."""
        if self.embedded is None:
            assert self.kept is not None
            return self.kept[index]
        if self.turns is not None:
            self.turns.text(self.embedded.shape[1])
        made = block.text_keys(self.embedded)
        if self.kept is not None:
            self.kept[index] = made
        return made


def _joined(latents: Tensor, conditioning: Conditioning) -> Tensor:
    if conditioning.extra_channels is None:
        return latents
    extra = conditioning.extra_channels.to(latents).expand(latents.shape[0], -1, -1, -1, -1)
    return torch.cat([latents, extra], dim=1)


def _in_fp32(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return F.linear(x, layer.weight.float(), layer.bias.float())
