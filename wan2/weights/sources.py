"""Records of what was found in files of weights: where each tensor comes from. Names and shapes; no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from wan2.models.config import TransformerConfig
from wan2.weights.header import CheckpointHeader, StoredTensor


class Lora(NamedTuple):
    """A LoRA file and how much of it is merged in."""

    path: Path
    multiplier: float


class Named(NamedTuple):
    """A tensor of a LoRA file and what it is called there."""

    name: str
    entry: StoredTensor


@dataclass(frozen=True)
class Delta:
    """What is added to a tensor: `factor` times the product of `up` and `down`, or times `up` where that is whole."""

    factor: float
    up: Named
    down: Named | None = None


Deltas = dict[str, list[Delta]]
"""What a LoRA adds, by the native name of the tensor that it is added to."""


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
