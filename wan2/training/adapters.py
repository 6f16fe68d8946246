"""Low-rank adapters of linears, and a block that computes with them for a while. Knows nothing of training.

y = W x + alpha / rank * up (down x), as Hu et al., arXiv 2106.09685, and PEFT have it: `down` begins random, `up` at
zero, so that an untrained adapter changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wan2.training.adapter_table import TARGETS

if TYPE_CHECKING:
    from wan2.models.config import TransformerConfig
    from wan2.models.layers import Block


class Adapter(NamedTuple):
    """down [rank, in], up [out, rank], both fp32, and what their product is multiplied by."""

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True)
class Rank:
    """The size of adapters: their rank, and alpha, by which they are multiplied once the rank has divided it."""

    rank: int
    alpha: float

    @property
    def scale(self) -> float:
        """What a product is multiplied by."""
        return self.alpha / self.rank


class Adapters(nn.Module):
    """The adapters of a transformer's blocks.

    Args:
        config: sizes of the transformer.
        rank: size of every adapter.
        targets: what is adapted, of `TARGETS`.
        seed: of the random beginning.
    """

    def __init__(self, config: TransformerConfig, rank: Rank, targets: tuple[str, ...], seed: int = 0) -> None:
        super().__init__()
        self.rank, self.num_layers = rank, config.num_layers
        shapes = config.block_shapes()
        self.linears = tuple(linear for target in TARGETS if target in targets for linear in TARGETS[target])
        generator = torch.Generator("cpu").manual_seed(seed)
        self.halves = nn.ParameterDict()
        for name in self.modules_adapted:
            out, columns = shapes[f"{name.split('.', 2)[2]}.weight"]
            bound = 1 / math.sqrt(columns)  # kaiming_uniform with a = sqrt(5)
            down = torch.rand(rank.rank, columns, generator=generator) * 2 * bound - bound
            self.halves[flat(f"{name}.down")] = nn.Parameter(down)
            self.halves[flat(f"{name}.up")] = nn.Parameter(torch.zeros(out, rank.rank))

    @property
    def modules_adapted(self) -> list[str]:
        """The native names of the linears, `blocks.0.self_attn.q` and so on."""
        return [f"blocks.{index}.{linear}" for index in range(self.num_layers) for linear in self.linears]

    def adapter(self, module: str) -> Adapter:
        """The adapter of a linear, by its native name."""
        down, up = (self.halves[flat(f"{module}.{half}")] for half in ("down", "up"))
        return Adapter(down, up, self.rank.scale)

    def of_block(self, index: int) -> dict[str, Adapter]:
        """The adapters of a block, by the names of their linears within it."""
        return {linear: self.adapter(f"blocks.{index}.{linear}") for linear in self.linears}


def flat(name: str) -> str:
    """A name without dots, which PyTorch's tables of parameters do not take."""
    return name.replace(".", "_")


class Adapted(nn.Module):
    """A linear, in whatever way it holds its weight, and its adapter; added in fp32, rounded to the linear's dtype."""

    def __init__(self, linear: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.linear, self.adapter = linear, adapter

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        out: Tensor = self.linear(x)
        down, up, scale = self.adapter
        return (out + F.linear(F.linear(x.to(down.dtype), down), up) * scale).to(out.dtype)


@contextmanager
def adapted(block: Block, adapters: Mapping[str, Adapter]) -> Iterator[Block]:
    """A block whose linears compute with adapters until the context is left. The block itself keeps nothing."""
    linears = {name: block.get_submodule(name) for name in adapters}
    for name, linear in linears.items():
        _put(block, name, Adapted(linear, adapters[name]))
    try:
        yield block
    finally:
        for name, linear in linears.items():
            _put(block, name, linear)


def _put(block: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(block.get_submodule(owner), leaf, module)
