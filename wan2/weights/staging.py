"""Pinned memory through which tensors go to a GPU: while one is copied, the next is read. Knows nothing of files."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from wan2.models.chunks import STAGING_BUFFERS


class Staging:
    """Buffers that take turns. Where the system refuses to pin memory it is pageable: as right, and slower.

    Args:
        nbytes: of the largest tensor.
        device: the GPU.
    """

    def __init__(self, nbytes: int, device: torch.device) -> None:
        self.device = device
        self._buffers = [_pinned(nbytes) for _ in range(STAGING_BUFFERS)]
        self._copied = [torch.cuda.Event() for _ in range(STAGING_BUFFERS)]
        self._turn = 0

    def buffer(self, nbytes: int) -> Tensor:
        """Host memory, uint8 [nbytes], that no copy uses any more; valid until it has been asked for twice again."""
        self._turn = (self._turn + 1) % STAGING_BUFFERS
        self._copied[self._turn].synchronize()
        return self._buffers[self._turn][:nbytes]

    def copy(self, tensor: Tensor) -> Tensor:
        """A tensor in the buffer that was asked for last, on the GPU; the copy is queued, and nobody waits for it."""
        copied = tensor.to(self.device, non_blocking=True)
        self._copied[self._turn].record(torch.cuda.current_stream(self.device))
        return copied


def _pinned(nbytes: int) -> Tensor:
    with suppress(RuntimeError):
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
    return torch.empty(nbytes, dtype=torch.uint8)
