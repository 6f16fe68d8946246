"""Bytes of a checkpoint into tensors. Knows nothing of models; trusts a header that was checked.

Files are read, not mapped: a mapped file counts as this process's memory, and copies from it to a device are slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wan2.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from wan2.loading.formats import Source
    from wan2.loading.header import CheckpointHeader

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class TensorReader:
    """Reads tensors of one checkpoint onto one device; for a GPU through one pinned buffer that is used again.

    `bytes_read` counts what came out of the files.
    """

    def __init__(self, header: CheckpointHeader, device: torch.device) -> None:
        self.header = header
        self.device = device
        self.bytes_read = 0
        self.staging: Tensor | None = None
        if device.type == "cuda":
            largest = max((entry.end - entry.start for entry in header.entries.values()), default=0)
            self.staging = torch.empty(largest, dtype=torch.uint8, pin_memory=True)

    def read(self, source: Source, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor on the reader's device, in `dtype` or as stored; multiplied by its scale in fp32, if it has one.

        Raises `InputError` when the file got shorter since its header was read.
        """
        stored = self._stored(source.name)
        if source.scale is None:
            return stored.to(dtype) if dtype else stored
        scale = self._stored(source.scale).float()
        scale = scale if scale.numel() == 1 else scale.reshape(-1, *[1] * (stored.dim() - 1))
        return (stored.float() * scale).reshape(stored.shape).to(dtype or torch.float32)

    def read_into(self, source: Source, out: Tensor) -> None:
        """What `read` gives, into a contiguous tensor of the CPU; without a copy when the file has its dtype."""
        entry = self.header.entries[source.name]
        if source.scale is None and DTYPES[entry.dtype] == out.dtype:
            self._fetch(source.name, out.flatten().view(torch.uint8))
        else:
            out.copy_(self.read(source, out.dtype))

    def _stored(self, name: str) -> Tensor:
        entry = self.header.entries[name]
        size = entry.end - entry.start
        buffer = torch.empty(size, dtype=torch.uint8) if self.staging is None else self.staging[:size]
        self._fetch(name, buffer)
        return buffer.view(DTYPES[entry.dtype]).reshape(entry.shape).to(self.device)

    def _fetch(self, name: str, buffer: Tensor) -> None:
        """The bytes of a tensor into a buffer of the CPU, uint8 and as long as they are."""
        entry = self.header.entries[name]
        with entry.path.open("rb", buffering=0) as file:
            file.seek(entry.start)
            view, done = buffer.numpy(), 0
            while done < len(view):
                count = file.readinto(view[done:].data)
                if not count:
                    raise InputError(f"{entry.path}: ends inside tensor {name}")
                done += count
        self.bytes_read += len(view)
