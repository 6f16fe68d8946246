"""A checkpoint's tensors left where they lie, memory-mapped, for a model that visits the device layer by layer.

A mapped weight costs no memory but page cache, which the system takes back at will. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wan2.errors import InputError
from wan2.models.fp8 import FP8, quantise_rows
from wan2.weights.checkpoint import PICKLES, load_tensors
from wan2.weights.header import CheckpointHeader, read_header
from wan2.weights.names import FP8_NOTES, SCALE_RULE, SCALES
from wan2.weights.reader import DTYPES


@dataclass(frozen=True)
class MappedTensor:
    """A stored tensor and the scale it must be multiplied by, if its file is scaled fp8: one number, or one a row."""

    stored: Tensor
    scale: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor."""
        return self.stored.shape

    def on(self, device: torch.device | str, dtype: torch.dtype) -> Tensor:
        """The values on a device; the mapping itself when neither device nor dtype differ."""
        values = self.stored.to(device)
        if self.scale is None:
            return values.to(dtype)
        scale = self.scale.float().reshape(-1, *[1] * (values.dim() - 1))
        return (values.float() * scale.to(device)).to(dtype)

    def copy_to(self, out: Tensor) -> None:
        """The values that `on` gives, in the dtype of `out`, into it; without a second copy unless there is a scale."""
        out.copy_(self.stored if self.scale is None else self.on(out.device, out.dtype))

    def in_fp8(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """A matrix in fp8 on a device, as stored or quantised there: e4m3 [rows, columns], fp32 scales [rows, 1]."""
        rows = self.stored.shape[0]
        if self.stored.dtype == FP8:
            scale = torch.ones(1) if self.scale is None else self.scale.float().flatten()
            return self.stored.to(device), scale.expand(rows).clone().to(device)[:, None]
        values = self.on(device, torch.float32 if self.stored.dtype != torch.bfloat16 else torch.bfloat16)
        quantised = quantise_rows(values)
        return quantised.values, quantised.scale

    def rows(self, index: Tensor) -> MappedTensor:
        """Some rows of a table; no other row is read."""
        if self.scale is None or self.scale.numel() == 1:
            return MappedTensor(self.stored[index], self.scale)
        return MappedTensor(self.stored[index], self.scale[index])


def map_tensors(path: Path, header: CheckpointHeader | None = None) -> dict[str, MappedTensor]:
    """Name -> mapped tensor of a safetensors or PyTorch file; fp8 scales and markers are folded in.

    header: that of a safetensors file, if it was read already.

    Raises:
        InputError: the file cannot be read, contradicts itself, or is no table of tensors.
    """
    tensors = dict(load_tensors(path) if path.suffix in PICKLES else _map_safetensors(header or read_header(path)))
    scales = {
        name.removesuffix(ending) + ".weight": tensor
        for ending in SCALES
        for name, tensor in tensors.items()
        if name.endswith(ending)
    }
    for name, scale in scales.items():
        if not (scale.float().isfinite() & (scale.float() > 0)).all():
            raise InputError(f"{path}: the scale of {name} {SCALE_RULE}")
    return {
        name: MappedTensor(tensor, scales.get(name)) for name, tensor in tensors.items() if not name.endswith(FP8_NOTES)
    }


def _map_safetensors(header: CheckpointHeader) -> Iterator[tuple[str, Tensor]]:
    """Slices of the mapped files; of the library's own reader every tensor would leave two numbers behind for good."""
    entries = header.entries
    files = {file: _map_file(file) for file in {entry.path for entry in entries.values()}}
    for name, entry in entries.items():
        values, dtype = files[entry.path][entry.start : entry.end], DTYPES[entry.dtype]
        aligned = values if entry.start % dtype.itemsize == 0 else values.clone()
        yield name, aligned.view(dtype).view(entry.shape)


def _map_file(path: Path) -> Tensor:
    try:
        return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be mapped ({error})") from error
