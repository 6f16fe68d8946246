"""What the first process tells the others to do, as bytes. Knows nothing of how they get there.

Kernels travel by name, tensors by their values; everything else is pickled, from one process of a run to another.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wan2.models.attention import DenseAttention
from wan2.models.conditioning import Conditioning
from wan2.models.kernels import load_kernel
from wan2.plan.split import Split
from wan2.request.compute import Compute
from wan2.request.model import Model, Noise
from wan2.weights.sources import TransformerFile


@dataclass(frozen=True)
class Begin:
    """Get ready for steps: of these checkpoints, so many each. keep: what is loaded stays for later steps."""

    model: Model
    compute: Compute
    files: Mapping[Noise, TransformerFile]
    steps: Mapping[Noise, int]
    keep: bool


@dataclass(frozen=True)
class Open:
    """Load an expert."""

    noise: Noise


@dataclass(frozen=True)
class Pass:
    """Compute a share of some passes at this timestep, of latents of this shape, which follow.

    passes: None for those of before.
    """

    split: Split
    timestep: Tensor
    shape: tuple[int, ...]
    passes: tuple[Conditioning, ...] | None


@dataclass(frozen=True)
class Leave:
    """Let go of what the last `Open` loaded, or of what the last `Begin` got ready, or end."""


Order = Begin | Open | Pass | Leave


def to_bytes(order: Order) -> bytes:
    """An order as bytes."""
    memory = io.BytesIO()
    _Pickler(memory, pickle.HIGHEST_PROTOCOL).dump(order)
    return memory.getvalue()


def from_bytes(data: bytes, device: torch.device) -> Order:
    """The order that became these bytes, its tensors on the CPU, its kernels loaded for a device."""
    order = _Unpickler(io.BytesIO(data), device).load()
    assert isinstance(order, Begin | Open | Pass | Leave)
    return order


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> tuple[Any, ...] | None:
        if isinstance(obj, DenseAttention):
            return ("kernel", obj.name)
        if isinstance(obj, Tensor):
            values = obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return ("tensor", str(obj.dtype).removeprefix("torch."), tuple(obj.shape), values)
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, memory: io.BytesIO, device: torch.device) -> None:
        super().__init__(memory)
        self.device = device

    def persistent_load(self, pid: Any) -> DenseAttention | Tensor:  # noqa: ANN401
        kind, name, *rest = pid
        if kind == "kernel":
            return load_kernel(name, self.device)
        shape, values = rest
        return torch.frombuffer(bytearray(values), dtype=getattr(torch, name)).reshape(shape)
