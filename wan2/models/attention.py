"""Dense attention behind one three-argument signature, whole or in chunks. Knows nothing of layers or of kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from torch.nn.functional import scaled_dot_product_attention

from wan2.models.chunks import chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor


class AttentionProcessor(Protocol):
    """Softmax attention, scaled by 1/sqrt(D). q [B, Lq, H, D], k and v [B, Lk, H, D] -> [B, Lq, H, D]."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from every query to the keys this processor chooses."""
        ...


Range = tuple[int, int]
"""Half-open: [first, last + 1)."""


@runtime_checkable
class RowwiseAttention(Protocol):
    """An attention processor that can be given some of its queries, all keys being there."""

    def of_rows(self, rows: Sequence[Range]) -> AttentionProcessor:
        """The processor for the queries of these ranges alone, one range after the other."""
        ...


@runtime_checkable
class GroupedAttention(Protocol):
    """Self-attention in which each group of tokens sees itself and one block of every group; blocks have one size."""

    def of_groups(
        self, owners: Sequence[Sequence[int]], own: int, gather: Callable[[Tensor], Tensor]
    ) -> AttentionProcessor:
        """The processor for the groups `owners[own]` alone, one after the other.

        Args:
            owners: the groups of everybody who takes part.
            own: whose they are.
            gather: given one's own blocks [n, tokens, ...] of something, those of everybody, in the order of `owners`.
        """
        ...


class Projections(Protocol):
    """The queries, keys and values of one attention, made when they are asked for."""

    @property
    def num_queries(self) -> int:
        """How many queries there are."""
        ...

    @property
    def num_keys(self) -> int:
        """How many keys there are."""
        ...

    def queries(self, start: int, stop: int) -> Tensor:
        """Queries start..stop: [B, stop - start, H, D]."""
        ...

    def keys(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Keys and values start..stop, each [B, stop - start, H, D]; may be views: do not write to them."""
        ...


class Projected(NamedTuple):
    """Queries, keys and values that are there: `Projections` of tensors [B, L, H, D]."""

    q: Tensor
    k: Tensor
    v: Tensor

    @property
    def num_queries(self) -> int:
        """How many queries there are."""
        return self.q.shape[1]

    @property
    def num_keys(self) -> int:
        """How many keys there are."""
        return self.k.shape[1]

    def queries(self, start: int, stop: int) -> Tensor:
        """See `Projections`."""
        return self.q[:, start:stop]

    def keys(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """See `Projections`."""
        return self.k[:, start:stop], self.v[:, start:stop]


@runtime_checkable
class PartwiseAttention(Protocol):
    """An attention processor that does not need all queries, keys and values at once."""

    def parts(self, tokens: Projections) -> Iterator[Tensor]:
        """What calling it would return, in consecutive pieces [B, n, H, D] from the first query to the last.

        Once a piece is yielded, its tokens may change: a processor that needs their keys later must ask for them first.

        """
        ...


@dataclass(frozen=True)
class DenseAttention:
    """Every query attends to every key, by one kernel."""

    name: str
    kernel: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B, Lq, H, D], k and v [B, Lk, H, D] -> [B, Lq, H, D]."""
        return self.kernel(q, k, v)

    def parts(self, tokens: Projections) -> Iterator[Tensor]:
        """The same for a chunk of queries at a time: queries and results are never whole."""
        k, v = tokens.keys(0, tokens.num_keys)
        yield from attend_in_chunks(self, tokens, 0, tokens.num_queries, k, v)

    def of_rows(self, rows: Sequence[Range]) -> AttentionProcessor:  # noqa: ARG002 - every query sees the same
        """The same for any queries."""
        return self


def attend_in_chunks(
    dense: AttentionProcessor, tokens: Projections, start: int, stop: int, k: Tensor, v: Tensor
) -> Iterator[Tensor]:
    """Attention of queries start..stop to the keys k and values v, a chunk of queries at a time."""
    for a, b in chunks(start, stop):
        yield dense(tokens.queries(a, b), k, v)


def attend_in_parts(processor: AttentionProcessor, tokens: Projections) -> Iterator[Tensor]:
    """The result of any processor: in its own parts, or whole if it has none."""
    if isinstance(processor, PartwiseAttention):
        yield from processor.parts(tokens)
    else:
        k, v = tokens.keys(0, tokens.num_keys)
        yield processor(tokens.queries(0, tokens.num_queries), k, v)


def _sdpa(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


dense_attention = DenseAttention("sdpa", _sdpa)
"""Dense attention with the kernel that PyTorch picks."""
