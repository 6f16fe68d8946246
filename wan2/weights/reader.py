"""Tensors of a checkpoint read into memory. Knows nothing of models; trusts a header that was checked.

Files are read, not mapped: a mapped file counts as this process's memory, and copies from it to a device are slow.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from wan2.errors import InputError
from wan2.models.adapters import assemble
from wan2.models.fp8 import FP8, quantise_rows
from wan2.weights.decode import TORCH_DTYPES, FileTensor, ScaledTensor, as_scale, decode, file_tensor, is_sound
from wan2.weights.dtypes import E4M3
from wan2.weights.merge import Addend, Stored, gains_of, merged_rows
from wan2.weights.names import SCALE_RULE
from wan2.weights.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from wan2.weights.header import CheckpointHeader, StoredTensor
    from wan2.weights.sources import Delta, Named, Source


# Bytes behind a tensor that the system is asked to read ahead.
AHEAD = 1 << 27


class TensorReader:
    """Reads tensors of one checkpoint onto one device; for a GPU through pinned memory, see `Staging`.

    What LoRAs add to a tensor is added in fp32, before it is rounded to the wanted dtype or to fp8. `bytes_read` counts
    what was read from the files.
    """

    def __init__(self, header: CheckpointHeader, device: torch.device) -> None:
        self.header = header
        self.device = device
        self.bytes_read = 0
        self._staging: Staging | None = None
        if device.type == "cuda":
            largest = max((entry.end - entry.start for entry in header.entries.values()), default=0)
            self._staging = Staging(largest, device)

    def read(self, source: Source, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor on the reader's device, in `dtype` or as stored; multiplied by its scale in fp32, if it has one.

        Raises `InputError` when the file got shorter since its header was read, or a LoRA holds what is not finite.
        """
        if source.deltas:
            out = torch.empty(self.header.entries[source.name].shape, dtype=dtype or torch.float32)
            self._merge_into(source, out)
            return out.to(self.device)
        return self._scaled(source).on(self.device, dtype)

    def read_held(self, source: Source, kind: torch.dtype) -> tuple[Tensor, ...]:
        """A matrix as a linear holds it on the reader's device: what `read_fp8` gives, int8 [rows, columns] as the file
        has it and its scales, fp32 [rows, 1], or blocks as the file has them, uint8 [rows, bytes of a row].

        kind: dtype of what is held.
        """
        if kind == FP8:
            return self.read_fp8(source)
        if kind == torch.int8:
            stored, scale = self._scaled(source), self._rows_of_scale(source)
            assert isinstance(stored, ScaledTensor)
            return stored.stored, scale
        rows = self.header.entries[source.name].shape[0]
        return (self._bytes_on_device(source.name).view(rows, -1),)

    def read_held_into(self, source: Source, *parts: Tensor) -> None:
        """What `read_held` gives, into contiguous tensors of the CPU; without a copy when the file has it."""
        if parts[0].dtype == FP8:
            self.read_fp8_into(source, *parts)
        else:
            self._fetch(source.name, self.header.entries[source.name], parts[0].flatten().view(torch.uint8))
            if len(parts) > 1:
                parts[1].copy_(self._rows_of_scale(source))

    def read_fp8(self, source: Source) -> tuple[Tensor, Tensor]:
        """A matrix in fp8 on the reader's device, e4m3 [rows, columns], and its scales, fp32 [rows, 1].

        As the file has it; quantised here if that is wider, or if LoRAs add to it. Raises `InputError` also when it is
        not finite.
        """
        if source.deltas:
            shape = self.header.entries[source.name].shape
            stored, scale = torch.empty(shape, dtype=TORCH_DTYPES[E4M3]), torch.empty(shape[0], 1)
            self.read_fp8_into(source, stored, scale)
            return stored.to(self.device), scale.to(self.device)
        found = self._scaled(source)
        scaled = found if isinstance(found, ScaledTensor) else ScaledTensor(found.on(self.device))
        stored, scale = scaled.in_fp8(self.device)
        if self.header.entries[source.name].dtype != E4M3:
            self._check_finite(source, scale)
        return stored, scale

    def read_fp8_into(self, source: Source, stored: Tensor, scale: Tensor) -> None:
        """What `read_fp8` gives, into contiguous tensors of the CPU; without a copy when the file has fp8."""
        entry = self.header.entries[source.name]
        if source.deltas:
            for part, values in self._merged(source):
                stored[part], scale[part], _ = quantise_rows(values)
            self._check_finite(source, scale)
        elif entry.dtype == E4M3:
            self._fetch(source.name, entry, stored.flatten().view(torch.uint8))
            known = self._scale(source)
            scale.copy_(torch.ones(1) if known is None else known.reshape(-1, 1))
        else:
            for out, values in zip((stored, scale), self.read_fp8(source), strict=True):
                out.copy_(values)

    def read_into(self, source: Source, out: Tensor) -> None:
        """What `read` gives, into a contiguous tensor of the CPU; without a copy when the file has its dtype."""
        entry = self.header.entries[source.name]
        if source.deltas:
            self._merge_into(source, out)
        elif source.scale is None and TORCH_DTYPES[entry.dtype] == out.dtype:
            self._fetch(source.name, entry, out.flatten().view(torch.uint8))
        else:
            out.copy_(self.read(source, out.dtype))

    def _merge_into(self, source: Source, out: Tensor) -> None:
        """The tensor with what LoRAs add to it, rounded once, into one of the CPU."""
        for rows, values in self._merged(source):
            out[rows] = values

    def _merged(self, source: Source) -> Iterator[tuple[slice, Tensor]]:
        """Rows of a tensor with what LoRAs add to it, as `merged_rows` gives them."""
        addends = [self.addend(delta) for delta in source.deltas]
        return merged_rows(self._stored(source), addends)

    def _stored(self, source: Source) -> Stored:
        """A tensor and its scale on the CPU."""
        scale = self._scale(source)
        if source.turned:
            return Stored(self._scaled(source).on("cpu"))
        return Stored(self._on_host(source.name), None if scale is None else scale.cpu())

    def gain(self, source: Source, addend: Addend) -> Tensor:
        """By what the magnitude of an adapter multiplies rows or columns of a tensor: see `gains_of`."""
        return gains_of(self._stored(source), addend)

    def addend(self, delta: Delta) -> Addend:
        """What an adapter adds, in fp32 on the CPU."""
        factors = assemble({role: self._lora_tensor(part) for role, part in delta.parts.items()})
        if delta.magnitude is None:
            return Addend(delta.strength, delta.scale, factors)
        magnitude = self._lora_tensor(delta.magnitude)
        return Addend(delta.strength, delta.scale, factors, magnitude.reshape(len(magnitude), -1))

    def _lora_tensor(self, tensor: Named) -> Tensor:
        """A tensor of a LoRA in fp32 on the CPU."""
        name, entry = tensor
        buffer = torch.empty(entry.end - entry.start, dtype=torch.uint8)
        self._fetch(name, entry, buffer)
        values = decode(buffer, entry.dtype, entry.shape).float()
        if not values.isfinite().all():
            raise InputError(f"{entry.path}: tensor {name} holds values that are not finite")
        return values

    def _check_finite(self, source: Source, scale: Tensor) -> None:
        """Refuse a matrix with a row that got a scale that is not finite: the row holds inf or NaN."""
        if not scale.isfinite().all():
            path = self.header.entries[source.name].path
            raise InputError(f"{path}: tensor {source.name} holds values that are not finite")

    def _scaled(self, source: Source) -> FileTensor:
        """A tensor as the file has it and its scale, on the reader's device."""
        entry, stored = self.header.entries[source.name], self._bytes_on_device(source.name)
        return file_tensor(stored, entry.dtype, entry.shape, self._scale(source), source.turned)

    def _rows_of_scale(self, source: Source) -> Tensor:
        """The scale of a matrix for each of its rows, fp32 [rows, 1]."""
        scale = self._scale(source)
        assert scale is not None
        return scale.expand(self.header.entries[source.name].shape[0]).clone()[:, None]

    def _scale(self, source: Source) -> Tensor | None:
        """The scale of a tensor on the reader's device, if it has one."""
        if source.scale is None:
            return None
        scale = as_scale(self._on_host(source.scale))  # looked at on the host: nobody waits for what is copied
        if not is_sound(scale):
            raise InputError(f"{self.header.entries[source.scale].path}: scale {source.scale} {SCALE_RULE}")
        return scale.to(self.device) if self._staging is None else self._staging.copy(scale)

    def _bytes_on_device(self, name: str) -> Tensor:
        """The bytes of a tensor, uint8 [n]; on a GPU as soon as what is queued there has ended."""
        memory = self._bytes_on_host(name)
        return memory.to(self.device) if self._staging is None else self._staging.copy(memory)

    def _on_host(self, name: str) -> Tensor:
        """A tensor as the file has it, on the CPU; for a GPU in a staging buffer, until two more have been read."""
        entry = self.header.entries[name]
        return decode(self._bytes_on_host(name), entry.dtype, entry.shape)

    def _bytes_on_host(self, name: str) -> Tensor:
        """The bytes of a tensor, uint8 [n], where `_on_host` has it."""
        entry = self.header.entries[name]
        size = entry.end - entry.start
        buffer = torch.empty(size, dtype=torch.uint8) if self._staging is None else self._staging.buffer(size)
        self._fetch(name, entry, buffer)
        return buffer

    def _fetch(self, name: str, entry: StoredTensor, buffer: Tensor) -> None:
        """The bytes of a tensor into a buffer of the CPU, uint8 and as long as they are."""
        with entry.path.open("rb", buffering=0) as file:
            file.seek(entry.start)
            view, done = buffer.numpy(), 0
            while done < len(view):
                count = file.readinto(view[done:].data)
                if not count:
                    raise InputError(f"{entry.path}: ends inside tensor {name}")
                done += count
            _read_ahead(file.fileno(), entry.end, AHEAD)  # while this tensor is put to use
        self.bytes_read += len(view)

    def expect(self, names: Iterable[str]) -> None:
        """Have the system read tensors from the disk into its cache; a file that cannot be opened is left alone."""
        entries = [self.header.entries[name] for name in names]
        for path in {entry.path for entry in entries}:
            with suppress(OSError), path.open("rb", buffering=0) as file:
                for entry in entries:
                    if entry.path == path:
                        _read_ahead(file.fileno(), entry.start, entry.end - entry.start)


def _read_ahead(file: int, start: int, length: int) -> None:
    """Ask the system, where it can be asked, to read some bytes of an open file into its cache."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, start, length, os.POSIX_FADV_WILLNEED)
