"""The layers of the text encoder, for a ring to fetch. Knows nothing of what a layer computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from wan2.streaming.layout import Layout, parts_of
from wan2.weights.decode import FileTensor


class LayerFile:
    """The layers of a text encoder in a mapped file; each is copied into a buffer when it is needed."""

    def __init__(
        self, path: Path, weights: Mapping[str, FileTensor], layers: Mapping[str, nn.Module], dtype: torch.dtype
    ) -> None:
        """layers: the modules, without memory, by the prefixes of their parameters' names in `weights`."""
        self.path, self.prefixes = path, tuple(layers)
        self.layouts: Sequence[Layout] = [Layout(parts_of(layer, dtype)) for layer in layers.values()]
        self._weights = weights

    def read(self, index: int, memory: Tensor) -> None:
        """Layer `index` into `memory`, uint8 [nbytes or more] on the CPU; weights to be held in fp8 are quantised."""
        prefix, weights = self.prefixes[index], self._weights
        self.layouts[index].fill(
            memory,
            lambda name, out: weights[prefix + name].copy_to(out),
            lambda name, *parts: weights[prefix + name].copy_held_to(*parts),
        )

    def read_ahead(self, index: int) -> None:
        """Nothing: the system reads on in a mapped file by itself."""
