"""One process's share of the passes of a step, and how shares become velocities. Knows nothing of orders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from wan2.models.attention import (
    AttentionProcessor,
    GroupedAttention,
    Projected,
    Projections,
    RowwiseAttention,
    attend_in_parts,
)
from wan2.models.conditioning import Conditioning
from wan2.models.transformer import WanTransformer
from wan2.parallel.mesh import FIRST, Mesh, Team
from wan2.plan.split import Split

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class HeadExchange:
    """Self-attention of a part of the tokens by a part of the heads on all of them (Ulysses, Jacobs et al., 2023).

    inner: what attends with these heads. lengths: tokens of each way.
    """

    inner: AttentionProcessor
    lengths: tuple[int, ...]
    team: Team

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v of own tokens [B, n, H, D] -> [B, n, H, D]."""
        heads = Projected(*(self.team.to_heads(x, self.lengths) for x in (q, k, v)))
        attended = torch.cat(list(attend_in_parts(self.inner, heads)), dim=1)
        return self.team.to_tokens(attended, self.lengths, q.shape[2])


@dataclass(frozen=True)
class Checked:
    """An attention that asks before it begins whether it is still needed."""

    inner: AttentionProcessor
    check: Callable[[], None]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `AttentionProcessor`."""
        self.check()
        return self.inner(q, k, v)

    def parts(self, tokens: Projections) -> Iterator[Tensor]:
        """See `PartwiseAttention`."""
        self.check()
        yield from attend_in_parts(self.inner, tokens)


class Share:
    """What one process computes of every step with the same conditionings.

    Every process of the mesh makes one at the same time, and runs it at the same time. check: called before every
    self-attention; what it raises ends the pass.
    """

    def __init__(
        self, mesh: Mesh, split: Split, conditionings: Sequence[Conditioning], check: Callable[[], None] | None = None
    ) -> None:
        self.mesh, self.split, self.count = mesh, split, len(conditionings)
        # Passes that are fewer than those that could run side by side are all the first's.
        self.side_by_side = self.count == split.passes
        place, way = divmod(mesh.rank, split.ways)
        team = mesh.team(split.passes, split.ways)
        self.rows = split.rows[way] if split.ways > 1 else None
        mine = conditionings[place : place + 1] if self.side_by_side else () if place else conditionings
        shared = [one if self.rows is None else _of_rows(one, split, team) for one in mine]
        self.mine = [replace(one, self_attn=Checked(one.self_attn, check)) for one in shared] if check else shared

    def run(self, model: WanTransformer, latents: Tensor, timestep: Tensor) -> list[Tensor]:
        """This process's passes, on its tokens, in the dtype of the latents; none where it has nothing to do."""
        found = model.passes(latents, timestep, self.mine, self.rows) if self.mine else []
        return [one.to(latents.dtype) for one in found]

    def collect(self, model: WanTransformer, own: Sequence[Tensor], latents: Tensor) -> list[Tensor]:
        """In the first process: the velocity of every pass, from its own results and those of the others."""
        left = list(own)
        return [self._velocity(model, index, left, latents) for index in range(self.count)]

    def _velocity(self, model: WanTransformer, index: int, left: list[Tensor], latents: Tensor) -> Tensor:
        """left: the own results that are not used yet."""
        first = index * self.split.ways if self.side_by_side else FIRST
        if self.rows is None:
            return self._part(first, latents.shape, left, latents.dtype)
        grid, config = model.grid(latents), model.config
        values = math.prod(config.patch_size) * config.out_dim
        whole = latents.new_empty(len(latents), math.prod(grid), values)
        for way, rows in enumerate(self.split.rows):
            lengths = [b - a for a, b in rows]
            part = self._part(first + way, (len(latents), sum(lengths), values), left, latents.dtype)
            for (a, b), piece in zip(rows, part.split(lengths, dim=1), strict=True):
                whole[:, a:b] = piece
        return model.unpatchify(whole, grid)

    def _part(self, rank: int, shape: Sequence[int], left: list[Tensor], dtype: torch.dtype) -> Tensor:
        return left.pop(0) if rank == FIRST else self.mesh.receive(shape, dtype, rank)


def _of_rows(whole: Conditioning, split: Split, team: Team) -> Conditioning:
    """A pass on the tokens of one way alone."""
    if not isinstance(whole.cross_attn, RowwiseAttention):
        raise ValueError("this attention to the text cannot be shared")
    cross = whole.cross_attn.of_rows(split.rows[team.way])
    if not split.owners:
        lengths = tuple(sum(b - a for a, b in rows) for rows in split.rows)
        return replace(whole, self_attn=HeadExchange(whole.self_attn, lengths, team), cross_attn=cross)
    if not isinstance(whole.self_attn, GroupedAttention):
        raise ValueError("this self-attention has no groups")
    gather = partial(team.gather, counts=[len(own) for own in split.owners])
    return replace(whole, self_attn=whole.self_attn.of_groups(split.owners, team.way, gather), cross_attn=cross)
