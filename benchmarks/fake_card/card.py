"""CUDA tensors that have no memory, and streams and events that do nothing: `with fake_card() as notes:`.

What runs inside is the real code; the notes say what it asked of the card. A mistake of devices, dtypes or layouts
raises what a card would raise. Not seen: numbers, speed, what an architecture supports. All of it holds for the thread
that enters, and relies on private interfaces of PyTorch: see `TESTED`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.torch_version import TorchVersion

from benchmarks.fake_card.notes import Notes, Watch
from benchmarks.fake_card.operators import Emulate
from wan2.models.rope import rope_table

TESTED = "2.13"
"""The version of PyTorch that this was written for; it is used with no other."""
BYTES = 80 * 10**9
HOPPER = (9, 0)


def is_tested() -> bool:
    """Whether this PyTorch is the one that the card was written for."""
    return str(TorchVersion(torch.__version__)).startswith(TESTED + ".")


@contextmanager
def fake_card(capability: tuple[int, int] = HOPPER, nbytes: int = BYTES) -> Iterator[Notes]:
    """A card of a compute capability, with so much memory free.

    Raises:
        RuntimeError: another version of PyTorch.
    """
    if not is_tested():
        raise RuntimeError(f"the fake card needs PyTorch {TESTED}, this is {torch.__version__}")
    notes = Notes()
    with ExitStack() as stack:
        for name, value in _cuda(notes, capability, nbytes).items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch("torch._subclasses.fake_tensor.init_gpu_context", lambda *_: None))
        stack.callback(rope_table.cache_clear)
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(Watch(notes))
        stack.enter_context(Emulate(notes))
        yield notes


def _cuda(notes: Notes, capability: tuple[int, int], nbytes: int) -> dict[str, object]:
    """What stands for the functions of `torch.cuda`."""
    properties = SimpleNamespace(name="Fake", total_memory=nbytes, major=capability[0], minor=capability[1])
    stream = Line()
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "device": lambda *_: nullcontext(),
        "get_device_name": lambda *_: properties.name,
        "get_device_capability": lambda *_: capability,
        "get_device_properties": lambda *_: properties,
        "mem_get_info": lambda *_: (nbytes - notes.alive, nbytes),
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda *_: notes.forget_peak(),
        "max_memory_allocated": lambda *_: notes.peak,
        "max_memory_reserved": lambda *_: notes.peak,
        "synchronize": lambda *_: notes.waited("synchronize"),
        "Stream": lambda *_: Line(),
        "Event": lambda *_, **__: Line(),
        "current_stream": lambda *_: stream,
        "stream": lambda *_: nullcontext(),
        "cudart": lambda: SimpleNamespace(cudaHostRegister=lambda *_: 0, cudaHostUnregister=lambda *_: 0),
    }


class Line:
    """A stream, or an event: nothing is ever waited for."""

    def record(self, stream: object = None) -> None:
        """Nothing to note."""

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def wait_event(self, event: object) -> None:
        """Nothing to wait for."""

    def wait_stream(self, stream: object) -> None:
        """Nothing to wait for."""
