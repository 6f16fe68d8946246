"""A layer of the text encoder as one flat run of bytes, for a ring to fill. Knows nothing of what a layer computes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from wan2.streaming.layout import ALIGNMENT
from wan2.weights.mapped import MappedTensor

STORED, SCALE = ".stored", ".scale"


class LentLayer(dict[str, Tensor]):
    """The parameters of a layer by their names within it, wherever the ring has put them."""

    def to(self, device: str) -> None:  # noqa: ARG002 - as of a module
        """Let go of the memory."""
        self.clear()


@dataclass(frozen=True)
class LayerLayout:
    """Where each parameter of a layer lies in its run of bytes: name, dtype and shape of each, in order."""

    parts: tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First byte of each part, and the end of the last."""
        starts = [0]
        for _, dtype, shape in self.parts:
            starts.append(starts[-1] + math.ceil(math.prod(shape) * dtype.itemsize / ALIGNMENT) * ALIGNMENT)
        return tuple(starts)

    @property
    def nbytes(self) -> int:
        """Length of a layer."""
        return self.starts[-1]

    def block(self, memory: Tensor) -> LentLayer:
        """The parameters of a layer that lies in `memory`, uint8 [nbytes or more]: views, not copies."""
        return LentLayer(
            (name, memory[start:][: math.prod(shape) * dtype.itemsize].view(dtype).view(shape))
            for (name, dtype, shape), start in zip(self.parts, self.starts, strict=False)
        )


class LayerFile:
    """The layers of a text encoder, mapped where they lie, each copied into memory that is there when it is wanted."""

    def __init__(
        self, path: Path, weights: Mapping[str, MappedTensor], layers: Mapping[str, nn.Module], dtype: torch.dtype
    ) -> None:
        """layers: the modules, without memory, by what their parameters' names in `weights` begin with."""
        self.path, self.prefixes = path, tuple(layers)
        self.layouts: Sequence[LayerLayout] = [_layout(layer, dtype) for layer in layers.values()]
        self._weights = weights

    def read(self, index: int, memory: Tensor) -> None:
        """Layer `index` into `memory`, uint8 [nbytes or more] on the CPU; what is to be fp8 is quantised on the way."""
        prefix, layer = self.prefixes[index], self.layouts[index].block(memory)
        for linear in [name.removesuffix(STORED) for name in layer if name.endswith(STORED)]:
            rows = self._weights[f"{prefix}{linear}.weight"].in_fp8(memory.device)
            for ending, values in zip((STORED, SCALE), rows, strict=True):
                layer.pop(linear + ending).copy_(values)
        for name, tensor in layer.items():
            self._weights[prefix + name].copy_to(tensor)


def _layout(layer: nn.Module, dtype: torch.dtype) -> LayerLayout:
    """fp8 values and their scales stay what they are; everything else is of the compute dtype."""
    parameters = dict(layer.named_parameters())
    kept = {name for name in parameters if name.endswith(STORED)}
    kept |= {name.removesuffix(STORED) + SCALE for name in kept}
    return LayerLayout(
        tuple((name, p.dtype if name in kept else dtype, tuple(p.shape)) for name, p in parameters.items())
    )
