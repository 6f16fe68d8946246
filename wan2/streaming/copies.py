"""How weights get from host memory into a slot of the device, in parallel with the computation.

A copy stream numbers the slots of the device and the staging buffers of the host. Knows nothing of what is copied.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def ignore(_: str) -> None:
    """A note that nobody reads."""


class HostMemory:
    """Contiguous bytes of host memory, pinned for the copy engine of a GPU, or for none.

    Pinned without PyTorch's own allocator, which would round the size up and keep the memory when it is released. Where
    the system does not allow that much to be pinned, as WSL2 often does not, the memory is pageable: copies from it are
    as right, and slower. `note` gets a line about that.
    """

    def __init__(self, nbytes: int, device: torch.device | None, note: Callable[[str], None] = ignore) -> None:
        with torch.inference_mode(False):
            self.bytes = torch.empty(nbytes, dtype=torch.uint8)
        self._pinned = device is not None and nbytes > 0
        if device is not None and self._pinned and _register(self.bytes, device):
            self._pinned = False
            _forget_error(device)
            note(f"the system refuses to pin {nbytes / 1e9:.2g} GB of host memory, so copies to the GPU are slower")

    def close(self) -> None:
        """Release the memory; closing twice does nothing more."""
        if self._pinned:
            _unregister(self.bytes)
            self._pinned = False
        self.bytes = self.bytes.new_empty(0)


def _register(memory: Tensor, device: torch.device) -> int:
    """The error code of pinning `memory`; 0 is success. On its device: another would get a context, and lose memory."""
    with torch.cuda.device(device):
        return int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))


def _forget_error(device: torch.device) -> None:
    """CUDA keeps the error of a refused call, and the next kernel would raise it: one that does nothing takes it."""
    with suppress(RuntimeError):
        torch.zeros(1, device=device)


def _unregister(memory: Tensor) -> None:
    torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())


class CopyStream(Protocol):
    """Copies from staging buffers of the host to slots of the device.

    The reader thread calls `copy` and `wait_for_buffer`; the computing thread calls the others.
    """

    pinned: bool

    def wait_for_buffer(self, buffer: int) -> None:
        """Return when the last copy from a staging buffer has ended: it may be overwritten."""
        ...

    def copy(self, buffer: int, source: Tensor, slot: int, target: Tensor) -> None:
        """Copy a staging buffer into a slot, once the computation that uses the slot has ended."""
        ...

    def begin_use(self, slot: int) -> None:
        """Computation queued from here on waits for the last copy into the slot."""
        ...

    def end_use(self, slot: int) -> None:
        """Computation queued up to here was the last to use the contents of the slot."""
        ...

    def close(self) -> None:
        """Return when no copy and no computation is in progress."""
        ...


class HostCopyStream:
    """For the CPU: both a copy and the computation have ended when their call returns."""

    pinned = False

    def wait_for_buffer(self, buffer: int) -> None:
        """Nothing to wait for."""

    def copy(self, buffer: int, source: Tensor, slot: int, target: Tensor) -> None:  # noqa: ARG002
        """Copy."""
        target.copy_(source)

    def begin_use(self, slot: int) -> None:
        """Nothing to wait for."""

    def end_use(self, slot: int) -> None:
        """Nothing to mark."""

    def close(self) -> None:
        """Nothing to wait for."""


class CudaCopyStream:
    """A CUDA stream for the copies; events order it with the computing stream, and neither waits longer than needed."""

    pinned = True

    def __init__(self, device: torch.device, slots: int, buffers: int) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self._filled = [torch.cuda.Event() for _ in range(slots)]
        self._used = [torch.cuda.Event() for _ in range(slots)]
        self._copied = [torch.cuda.Event() for _ in range(buffers)]
        # The slots were allocated for the computing stream, which may still run what used their memory before.
        self.stream.wait_stream(torch.cuda.current_stream(device))

    def wait_for_buffer(self, buffer: int) -> None:
        """Block the calling thread until the copy engine is done with the buffer."""
        self._copied[buffer].synchronize()

    def copy(self, buffer: int, source: Tensor, slot: int, target: Tensor) -> None:
        """Queue the copy behind the computation."""
        with torch.cuda.stream(self.stream):
            self.stream.wait_event(self._used[slot])
            target.copy_(source, non_blocking=True)
            self._filled[slot].record(self.stream)
            self._copied[buffer].record(self.stream)

    def begin_use(self, slot: int) -> None:
        """Queue a wait for the copy."""
        torch.cuda.current_stream(self.device).wait_event(self._filled[slot])

    def end_use(self, slot: int) -> None:
        """Record the event that the next copy into the slot waits for."""
        self._used[slot].record(torch.cuda.current_stream(self.device))

    def close(self) -> None:
        """Wait for copies and computation: both may still use slots."""
        self.stream.synchronize()
        torch.cuda.current_stream(self.device).synchronize()


def copy_stream(device: torch.device, slots: int, buffers: int) -> CopyStream:
    """The copy stream for a device, with so many slots, and so many staging buffers on the host."""
    return CudaCopyStream(device, slots, buffers) if device.type == "cuda" else HostCopyStream()
