"""What linears have in common that hold their weight in fewer bits: it is multiplied out when it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HeldLinear(nn.Module):
    """A linear whose weight is multiplied out whenever it is used, in the input's dtype.

    parts: names what it has in place of a weight, the values first. multiplied: the weight as it is used, while it is
    kept so; see `multiplied_out`. fast: whether products are computed without multiplying it out.
    """

    # transformers looks at the dtype of a linear's weight, and would convert the input to it.
    weight = None
    parts: tuple[str, ...] = ("stored", "scale")
    fast = False
    stored: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, out_features: int, bias: bool) -> None:
        super().__init__()
        self.bias = frozen(torch.empty(out_features)) if bias else None
        self.multiplied: Tensor | None = None

    def weight_in(self, dtype: torch.dtype) -> Tensor:
        """The weight [out, in], multiplied out."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        kept = self.multiplied
        return F.linear(x, self.weight_in(x.dtype) if kept is None else kept, self.bias)


@contextmanager
def multiplied_out(dtype: torch.dtype, *modules: nn.Module) -> Iterator[None]:
    """A block in which the held linears of some modules are multiplied out once, however often they are used."""
    parts = (part for module in modules for part in module.modules())
    linears = [part for part in parts if isinstance(part, HeldLinear) and not part.fast]
    try:
        for linear in linears:
            linear.multiplied = linear.weight_in(dtype)
        yield
    finally:
        for linear in linears:
            linear.multiplied = None


def frozen(tensor: Tensor) -> nn.Parameter:
    """A parameter that needs no gradient."""
    return nn.Parameter(tensor, requires_grad=False)
