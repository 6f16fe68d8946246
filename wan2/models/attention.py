"""Dense attention behind one three-argument signature, whole or in chunks. Knows nothing of layers or of kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from torch.nn.functional import scaled_dot_product_attention

from wan2.models.chunks import chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor


class AttentionProcessor(Protocol):
    """Softmax attention, scaled by 1/sqrt(D). q [B, Lq, H, D], k and v [B, Lk, H, D] -> [B, Lq, H, D]."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from every query to the keys this processor chooses."""
        ...


KeysInto: TypeAlias = "tuple[Tensor, Tensor] | None"
"""Where keys and values are to be written, each [B, L, H, D]; None: anywhere."""


class Projections(Protocol):
    """The queries, keys and values of one attention, made when they are asked for."""

    num_queries: int
    num_keys: int

    def queries(self, start: int, stop: int) -> Tensor:
        """Queries start..stop: [B, stop - start, H, D]."""
        ...

    def room(self, length: int) -> tuple[Tensor, Tensor]:
        """Memory for keys and values of so many tokens, each [B, length, H, D]."""
        ...

    def keys(self, start: int, stop: int, into: KeysInto = None) -> tuple[Tensor, Tensor]:
        """Keys and values start..stop, each [B, stop - start, H, D]: in `into` if given, else do not write to them."""
        ...


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
