"""A checkpoint's tensors left where they lie, memory-mapped, for a model that visits the device layer by layer.

A mapped weight costs no memory but page cache, which the system takes back at will. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wan2.loading.checkpoint import PICKLES, load_tensors, read_header
from wan2.loading.formats import FP8_NOTES, SCALES


@dataclass(frozen=True)
class MappedTensor:
    """A stored tensor and the scale it must be multiplied by, if its file is scaled fp8."""

    stored: Tensor
    scale: Tensor | None

    def on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The values on a device; the mapping itself when neither device nor dtype differ."""
        return self._scaled(self.stored.to(device), dtype)

    def rows(self, index: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """`on` for some rows of a table; no other row is read."""
        return self._scaled(self.stored[index].to(device), dtype)

    def _scaled(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        if self.scale is None:
            return values.to(dtype)
        return (values.float() * self.scale.to(values.device, torch.float32)).to(dtype)


def map_tensors(path: Path) -> dict[str, MappedTensor]:
    """Name -> mapped tensor of a safetensors or PyTorch file; fp8 scales and markers are folded in.

    Raises:
        InputError: the file cannot be read, contradicts itself, or is no table of tensors.
    """
    tensors = dict(load_tensors(path) if path.suffix in PICKLES else _map_safetensors(path))
    scales = {
        name.removesuffix(ending) + ".weight": tensor
        for ending in SCALES
        for name, tensor in tensors.items()
        if name.endswith(ending)
    }
    return {
        name: MappedTensor(tensor, scales.get(name)) for name, tensor in tensors.items() if not name.endswith(FP8_NOTES)
    }


def _map_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    for file in sorted({entry.path for entry in read_header(path).entries.values()}):
        with safe_open(file, framework="pt", device="cpu") as content:
            for name in content.keys():  # noqa: SIM118 - not a mapping
                yield name, content.get_tensor(name)
