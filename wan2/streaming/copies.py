"""How a block gets from host memory into a slot on the device, and who waits for whom. Knows nothing of blocks.

A lane numbers the slots of the device and the places of the host. Its copies run beside the computation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from wan2.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor


class HostMemory:
    """One flat run of bytes of the host; `pinned` for a copy engine to read, without the rounding up of PyTorch's
    own allocator, and given back to the system when closed.

    Raises:
        RunError: the system does not let so much be pinned.
    """

    def __init__(self, nbytes: int, pinned: bool) -> None:
        with torch.inference_mode(False):
            self.bytes = torch.empty(nbytes, dtype=torch.uint8)
        self._pinned = pinned and nbytes > 0
        if self._pinned and _register(self.bytes):
            self._pinned = False
            raise RunError(f"cannot pin {nbytes / 1e9:.1f} GB of host memory; try --weights_from disk")

    def close(self) -> None:
        """Give the memory back; closing twice is closing once."""
        if self._pinned:
            _unregister(self.bytes)
            self._pinned = False
        self.bytes = self.bytes.new_empty(0)


def _register(memory: Tensor) -> int:
    """The error code of pinning `memory`; 0 is success."""
    return int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, 0))


def _unregister(memory: Tensor) -> None:
    torch.cuda.cudart().cudaHostUnregister(memory.data_ptr())


class Lane(Protocol):
    """Copies from places of the host to slots of the device. `copy` and `await_place` are the reader thread's."""

    pinned: bool

    def await_place(self, place: int) -> None:
        """Return when the last copy out of a place is done: it may be written."""
        ...

    def copy(self, place: int, source: Tensor, slot: int, target: Tensor) -> None:
        """Copy a place into a slot, once the computation that was told to use the slot is done with it."""
        ...

    def begin_use(self, slot: int) -> None:
        """Computation queued from here on waits for the last copy into the slot."""
        ...

    def end_use(self, slot: int) -> None:
        """Computation queued up to here was the last to use what the slot holds."""
        ...

    def close(self) -> None:
        """Return when nothing is under way any more."""
        ...


class PlainLane:
    """For the processor, where a copy is done when the call returns, and so is the computation."""

    pinned = False

    def await_place(self, place: int) -> None:
        """Every copy is done."""

    def copy(self, place: int, source: Tensor, slot: int, target: Tensor) -> None:  # noqa: ARG002
        """Copy."""
        target.copy_(source)

    def begin_use(self, slot: int) -> None:
        """Every copy is done."""

    def end_use(self, slot: int) -> None:
        """So is the computation."""

    def close(self) -> None:
        """Nothing is under way."""


class CudaLane:
    """A stream of its own for the copies; events tie it to the stream that computes, and nobody waits needlessly."""

    pinned = True

    def __init__(self, device: torch.device, slots: int, places: int) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self._filled = [torch.cuda.Event() for _ in range(slots)]
        self._used = [torch.cuda.Event() for _ in range(slots)]
        self._copied = [torch.cuda.Event() for _ in range(places)]
        # The slots were allocated for the computing stream, which may still run what used their memory before.
        self.stream.wait_stream(torch.cuda.current_stream(device))

    def await_place(self, place: int) -> None:
        """Wait on the host for the copy engine."""
        self._copied[place].synchronize()

    def copy(self, place: int, source: Tensor, slot: int, target: Tensor) -> None:
        """Queue the copy behind the computation."""
        with torch.cuda.stream(self.stream):
            self.stream.wait_event(self._used[slot])
            target.copy_(source, non_blocking=True)
            self._filled[slot].record(self.stream)
            self._copied[place].record(self.stream)

    def begin_use(self, slot: int) -> None:
        """Queue a wait for the copy."""
        torch.cuda.current_stream(self.device).wait_event(self._filled[slot])

    def end_use(self, slot: int) -> None:
        """Mark the place in the queue that the next copy waits for."""
        self._used[slot].record(torch.cuda.current_stream(self.device))

    def close(self) -> None:
        """Wait for copies and computation: both may still use slots."""
        self.stream.synchronize()
        torch.cuda.current_stream(self.device).synchronize()


def lane_to(device: torch.device, slots: int, places: int) -> Lane:
    """The lane that suits a device."""
    return CudaLane(device, slots, places) if device.type == "cuda" else PlainLane()
