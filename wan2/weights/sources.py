"""Records of what was found in files of weights: where each tensor comes from. Names and shapes; no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Source:
    """Where a tensor comes from: its name in the file, the name of the scale it must be multiplied by, if any, and what
    LoRAs add to it.
    """

    name: str
    scale: str | None = None
    deltas: tuple[Delta, ...] = ()


@dataclass(frozen=True)
class TransformerFile:
    """A transformer checkpoint that was inspected and found sound.

    path: as it was given: a file, an index or a folder. sources: native name -> where that tensor comes from. loras:
    those merged into it, in order; their deltas are in `sources`.
    """

    path: Path
    header: CheckpointHeader = field(repr=False)
    config: TransformerConfig
    sources: dict[str, Source] = field(repr=False)
    loras: tuple[Lora, ...] = ()
