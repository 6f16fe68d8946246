"""What an adapter adds to a matrix, kept in its factors. Knows nothing of files or of names of modules.

Sources: Hu et al., LoRA, arXiv 2106.09685; Hyeon-Woo et al., FedPara (LoHa), arXiv 2108.06098; Yeh et al., LyCORIS
(LoKr), arXiv 2309.14859.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Factors(Protocol):
    """A matrix [rows, columns] that is kept in factors, or a whole tensor [rows, ...]: a tuple of them."""

    def __init__(self, *factors: Tensor) -> None: ...

    def __iter__(self) -> Iterator[Tensor]: ...

    def rows(self, rows: slice) -> Tensor:
        """Some of its rows, multiplied out."""
        ...

    def times(self, x: Tensor) -> Tensor:
        """What it adds to the output of a linear whose input is x: [..., columns] -> [..., rows], or [rows]."""
        ...


class Whole(NamedTuple):
    """A tensor as it is, [rows, ...]; a vector [rows] is that of a bias."""

    values: Tensor

    def rows(self, rows: slice) -> Tensor:
        """See `Factors`."""
        return self.values[rows]

    def times(self, x: Tensor) -> Tensor:
        """See `Factors`."""
        return self.values if self.values.dim() == 1 else F.linear(x, self.values)


class LowRank(NamedTuple):
    """LoRA: up [rows, rank] times down [rank, columns]."""

    up: Tensor
    down: Tensor

    def rows(self, rows: slice) -> Tensor:
        """See `Factors`."""
        return self.up[rows] @ self.down

    def times(self, x: Tensor) -> Tensor:
        """See `Factors`."""
        return F.linear(F.linear(x, self.down), self.up)


class Hadamard(NamedTuple):
    """LoHa: two products of low rank, multiplied number by number."""

    up: Tensor
    down: Tensor
    other_up: Tensor
    other_down: Tensor

    def rows(self, rows: slice) -> Tensor:
        """See `Factors`."""
        return (self.up[rows] @ self.down) * (self.other_up[rows] @ self.other_down)

    def times(self, x: Tensor) -> Tensor:
        """See `Factors`."""
        return F.linear(x, self.rows(slice(None)))


class Kronecker(NamedTuple):
    """LoKr: the Kronecker product of left [a, b] and right [c, d], a matrix [a c, b d]."""

    left: Tensor
    right: Tensor

    def rows(self, rows: slice) -> Tensor:
        """See `Factors`."""
        number = torch.arange(*rows.indices(len(self.left) * len(self.right)), device=self.left.device)
        left, right = self.left[number // len(self.right)], self.right[number % len(self.right)]
        return (left[:, :, None] * right[:, None, :]).flatten(1)

    def times(self, x: Tensor) -> Tensor:
        """See `Factors`."""
        inner = F.linear(x.unflatten(-1, (self.left.shape[1], self.right.shape[1])), self.right)
        return (self.left @ inner).flatten(-2)


def assemble(parts: Mapping[str, Tensor]) -> Factors:
    """The factors of one adapter, by the roles that `lora_names.Part` lists; all but whole ones become matrices."""
    if "diff" in parts:
        return Whole(parts["diff"])
    flat = {role: tensor.flatten(1) for role, tensor in parts.items()}
    if "up" in flat:
        return LowRank(flat["up"], flat["down"])
    if "hada_w1_a" in flat:
        return Hadamard(*(flat[f"hada_w{n}_{side}"] for n in "12" for side in "ab"))
    return Kronecker(*(_factor(flat, f"lokr_w{n}") for n in "12"))


def _factor(flat: Mapping[str, Tensor], name: str) -> Tensor:
    return flat[name] if name in flat else flat[f"{name}_a"] @ flat[f"{name}_b"]
