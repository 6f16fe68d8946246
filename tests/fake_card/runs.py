"""The real commands on a card that is not there: what reads numbers is told some, files are written with zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import _disable_current_modes

import wan2.cli.main
import wan2.models.kernels
import wan2.models.vae
import wan2.run.preview
import wan2.run.wave
import wan2.sampling.denoise
import wan2.streaming.copies
import wan2.streaming.ring
import wan2.weights.mapped
from benchmarks.fake_card.card import fake_card
from benchmarks.fake_card.notes import Notes
from tests.tiny import QUICK
from wan2.weights.reader import TensorReader

ON_CARD = [*QUICK, "--device", "cuda", "--attn_mode", "sdpa", "--output_type", "latent"]


class AtOnce:
    """An executor that does everything in the thread that asks: what watches tensors does so for one thread."""

    def __init__(self, *_: object) -> None: ...

    def submit(self, call: Callable[..., Any], *args: object) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            done.set_exception(error)
        return done

    def shutdown(self, **_: object) -> None: ...


class Pictures:
    """What stands for pictures on the CPU."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def numpy(self) -> NDArray[np.uint8]:
        return np.zeros(self.shape, np.uint8)


def run(main: Callable[[Sequence[str]], int], words: Sequence[str], *faults: tuple[Any, str, Any]) -> tuple[Notes, int]:
    """What a command asked of the card, and its exit code.

    faults: (owner, name, value): what is put into the code for the time of the run.
    """
    _device_constructors()  # PyTorch looks these functions up once: before one of them has a stand-in
    with ExitStack() as stack:
        for owner, name, value in (*_stand_ins(), *faults):
            stack.enter_context(mock.patch.object(owner, name, value))
        notes = stack.enter_context(fake_card())
        return notes, main(words)


def _stand_ins() -> Iterator[tuple[Any, str, Any]]:
    """What would need a thread, a number of a tensor without numbers, or CUDA itself."""
    yield wan2.streaming.ring, "ThreadPoolExecutor", AtOnce
    yield wan2.streaming.copies, "_register", lambda *_: 0
    yield wan2.streaming.copies, "_unregister", lambda *_: None
    yield TensorReader, "_fetch", lambda *_: None
    yield wan2.weights.mapped, "_map_file", lambda path: torch.empty(path.stat().st_size, dtype=torch.uint8)
    yield wan2.run.wave, "hash_text", lambda _: "0"
    yield safetensors.torch, "save", partial(_save, safetensors.torch.save)
    yield safetensors.torch, "load_file", partial(_with_numbers, safetensors.torch.load_file)
    yield wan2.models.vae, "to_uint8", partial(_pictures, wan2.models.vae.to_uint8)
    yield wan2.sampling.denoise, "make_solver", partial(_with_numbers, wan2.sampling.denoise.make_solver)
    yield wan2.models.kernels, "_draw", _draw
    yield torch, "empty", partial(_empty, torch.empty)
    yield nn.Module, "to", _module_to
    yield nn.Module, "requires_grad_", lambda module, *_: module


def _save(real: Callable[..., bytes], tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A file of zeros of the same shapes. Latents in it can be decoded, a state gone on from."""
    with _outside():
        return real({name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in tensors.items()}, metadata)


def _pictures(real: Callable[[Tensor], Tensor], pixels: Tensor) -> Pictures:
    return Pictures(real(pixels).shape)


def _with_numbers(real: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
    """Levels of noise have numbers, and so has what a file holds."""
    with _outside():
        return real(*args)


def _draw(device: torch.device, dtype: torch.dtype, call: wan2.models.kernels.Call) -> tuple[Tensor, ...]:
    lengths = call.queries, call.keys, call.keys
    return tuple(torch.empty(1, n, call.heads, call.head_dim, device=device, dtype=dtype) for n in lengths)


def _empty(real: Callable[..., Tensor], *size: object, pin_memory: bool = False, **options: object) -> Tensor:
    del pin_memory
    return real(*size, **options)


def _module_to(module: nn.Module, device: Any) -> nn.Module:  # noqa: ANN401
    """PyTorch's own way swaps tensors, which those without memory do not allow."""
    for part in module.modules():
        for name, old in part._parameters.items():
            if old is not None:
                new = torch.empty(old.shape, dtype=old.dtype, device=device)
                part._parameters[name] = nn.Parameter(new, requires_grad=False)
    return module


@contextmanager
def _outside() -> Iterator[None]:
    """A block in which tensors have numbers."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield
