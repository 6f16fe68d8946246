"""Records of what was found in files of weights: where each tensor comes from. Names and shapes; no PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wan2.models.config import TransformerConfig
from wan2.sampling.experts import Expert
from wan2.weights.header import CheckpointHeader, StoredTensor

if TYPE_CHECKING:
    from collections.abc import Mapping


class Lora(NamedTuple):
    """An adapter file and how much of it counts.

    of: the transformer that it changes, which matters for a file that holds an adapter for each.
    """

    path: Path
    multiplier: float
    of: Expert | None = None


class Named(NamedTuple):
    """A tensor of an adapter file and what it is called there."""

    name: str
    entry: StoredTensor


@dataclass(frozen=True)
class Delta:
    """What an adapter does to one tensor: adds `strength` times `scale` times what its parts, by their roles, come to.

    magnitude: the lengths of rows or columns that a DoRA gives what comes of it.
    """

    strength: float
    scale: float
    parts: Mapping[str, Named]
    magnitude: Named | None = None

    @property
    def factor(self) -> float:
        """What the product of the parts is multiplied by."""
        return self.strength * self.scale


Deltas = dict[str, list[Delta]]
"""What an adapter does, by the native name of the tensor that it changes."""


class LoraFile(NamedTuple):
    """An adapter file that was inspected and fits.

    left_out: the names of those of its tensors that are for no text-to-video transformer. both: whether it holds an
    adapter for each of the two transformers, of which `deltas` are one.
    """

    deltas: Deltas
    left_out: tuple[str, ...] = ()
    both: bool = False

    @property
    def num_values(self) -> int:
        """How many values it holds for one transformer."""
        parts = (part for deltas in self.deltas.values() for delta in deltas for part in delta.parts.values())
        return sum(math.prod(part.entry.shape) for part in parts)


class Beside(NamedTuple):
    """What one adapter, by its number, does beside a weight or a bias."""

    number: int
    delta: Delta


@dataclass(frozen=True)
class Source:
    """Where a tensor comes from: its name in the file, the name of the scale it must be multiplied by, if any, and what
    LoRAs add to it. turned: columns of a group that ConvRot turned, 0 for none.
    """

    name: str
    scale: str | None = None
    deltas: tuple[Delta, ...] = ()
    turned: int = 0


@dataclass(frozen=True)
class TransformerFile:
    """A transformer checkpoint that was inspected and found sound.

    path: as it was given: a file, an index or a folder. sources: native name -> where that tensor comes from. loras:
    its adapters, in order; their deltas are in `sources`, or, where they stand beside its weights, in `branches`, by
    the names of the weights and biases of linears; None where all of them are merged.
    """

    path: Path
    header: CheckpointHeader = field(repr=False)
    config: TransformerConfig
    sources: dict[str, Source] = field(repr=False)
    loras: tuple[Lora, ...] = ()
    branches: Mapping[str, tuple[Beside, ...]] | None = field(default=None, repr=False)

    @property
    def bare(self) -> TransformerFile:
        """The checkpoint without the adapters that stand beside its weights, and what else these change; else itself.

        That is what fp8 weights are kept of.
        """
        if self.branches is None:
            return self
        sources = {name: replace(source, deltas=()) for name, source in self.sources.items()}
        return replace(self, sources=sources, loras=(), branches=None)

    def dressed(self, bare: TransformerFile) -> TransformerFile:
        """A checkpoint of the same weights as `bare` of this one, with the adapters of this one."""
        if self.branches is None:
            return bare
        deltas = {name: source.deltas for name, source in self.sources.items()}
        sources = {name: replace(source, deltas=deltas[name]) for name, source in bare.sources.items()}
        return replace(bare, sources=sources, loras=self.loras, branches=self.branches)
