"""Dense attention by one kernel or another: loaded by name, checked against fp32, and for `auto` measured.

Knows nothing of layers or of what the keys mean, only of the largest call that a run will make.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from wan2.errors import InputError, is_out_of_memory
from wan2.models.attention import DenseAttention, dense_attention
from wan2.models.kernel_table import AUTO, CANDIDATES, KERNELS, check_kernel

if TYPE_CHECKING:
    from torch import Tensor

# Root mean square of the difference from fp32, over that of fp32 itself. Half precision rounds; noise is above 1. What
# `auto` may use must be as good as exact; what was asked for by name must only not be wrong.
ALLOWED_ERROR = {torch.float32: 2e-3, torch.float16: 5e-3, torch.bfloat16: 1e-2}
WRONG = 0.2
CHECKED_QUERIES, CHECKED_HEADS = 64, 2
REPEATS = 3


class Call(NamedTuple):
    """One call of a dense kernel: q [1, queries, heads, head_dim], k and v [1, keys, heads, head_dim]."""

    queries: int
    keys: int
    heads: int
    head_dim: int


def load_kernel(mode: str, device: torch.device) -> DenseAttention:
    """The kernel called `mode`, on a device.

    Raises:
        InputError: it is not available; with the device it needs, or the line that installs it.
    """
    check_kernel(mode, device.type)
    try:
        return DenseAttention(mode, _LOADERS[mode]())
    except ImportError as error:
        raise InputError(f"{error}; install it with: {KERNELS[mode].install}", field="attn_mode", value=mode) from error


def choose_kernel(
    mode: str,
    device: torch.device,
    dtype: torch.dtype,
    call: Callable[[], Call],
    note: Callable[[str], None],
    candidates: Sequence[DenseAttention] | None = None,
) -> DenseAttention:
    """The kernel to use: the one named `mode`, or the fastest of those available that computes attention correctly.

    With only one candidate, nothing is measured. Otherwise each candidate is run on one call of the size
    given, and may be used only if a slice of what it returns is near dense attention in fp32.

    Args:
        mode: auto, or a name in `kernel_table.KERNELS`.
        device: where it will run.
        dtype: of queries, keys and values.
        call: gives the largest call of the run; used only if something is to be tried.
        note: receives one line for every candidate that is refused.
        candidates: what `auto` chooses from; None is what this device and this installation have.

    Raises:
        InputError: the kernel asked for is not available, fails, or computes something else; or no candidate works.
    """
    if mode != AUTO:
        kernel = load_kernel(mode, device)
        if mode == dense_attention.name:
            return dense_attention
        if fault := _fault(kernel, _draw(device, dtype, call()), WRONG):
            raise InputError(f"{fault}; auto takes one that works", field="attn_mode", value=mode)
        return kernel
    if candidates is None:
        candidates = loadable(device)
    if len(candidates) == 1:
        return candidates[0]
    inputs = _draw(device, dtype, call())
    sound = []
    for kernel in candidates:
        if fault := _fault(kernel, inputs, ALLOWED_ERROR[dtype]):
            note(f"attention kernel {kernel.name} is not used: {fault}")
        else:
            sound.append(kernel)
    if not sound:
        rule = f"none of {', '.join(kernel.name for kernel in candidates)} works here"
        raise InputError(rule, field="attn_mode", value="auto")
    return min(sound, key=lambda kernel: _seconds(kernel, inputs))


def loadable(device: torch.device) -> list[DenseAttention]:
    """The candidates that can be loaded."""
    found = []
    for name in CANDIDATES:
        try:
            found.append(load_kernel(name, device))
        except InputError:
            continue
    return found


def _draw(device: torch.device, dtype: torch.dtype, call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Normal queries, keys and values for one call."""
    generator = torch.Generator(device).manual_seed(0)

    def draw(length: int) -> Tensor:
        return torch.randn(1, length, call.heads, call.head_dim, device=device, dtype=dtype, generator=generator)

    return draw(call.queries), draw(call.keys), draw(call.keys)


def _fault(kernel: DenseAttention, inputs: tuple[Tensor, Tensor, Tensor], allowed: float) -> str:
    """What is wrong with a kernel on these inputs; empty when nothing is."""
    q, k, v = inputs
    try:
        found = kernel(q, k, v)
    except (RuntimeError, ValueError, AssertionError) as error:  # how kernels refuse a size, a type or a card
        if is_out_of_memory(error):
            raise
        return f"fails here ({' '.join(str(error).split())[:120]})"
    if found.shape != q.shape:
        return f"returns {list(found.shape)} for queries of {list(q.shape)}"
    off = _difference(found, inputs)
    return "" if off <= allowed else f"is off by {off:.2g} of the fp32 result, may be {allowed:g}"


def off_by(kernel: DenseAttention, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """How far a kernel is from dense attention in fp32 on a slice: the norm of the difference, relative."""
    return _difference(kernel(*inputs), inputs)


def _difference(found: Tensor, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    q, k, v = inputs
    heads, rows = slice(CHECKED_HEADS), slice(-CHECKED_QUERIES, None)
    expected = dense_attention(q[:, rows, heads].float(), k[:, :, heads].float(), v[:, :, heads].float())
    return float((found[:, rows, heads].float() - expected).norm() / expected.norm())


def _seconds(kernel: DenseAttention, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """The shortest time of a few calls; each kernel has been called once by then."""
    taken = []
    for _ in range(REPEATS):
        _wait(inputs[0].device)
        start = time.perf_counter()
        kernel(*inputs)
        _wait(inputs[0].device)
        taken.append(time.perf_counter() - start)
    return min(taken)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Kernel = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]


def _sdpa() -> Kernel:
    return dense_attention.kernel


def _cudnn() -> Kernel:
    def cudnn_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return dense_attention(q, k, v)

    return cudnn_attention


def _flash2() -> Kernel:
    from flash_attn import flash_attn_func

    def flash2_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flash_attn_func(q, k, v)

    return flash2_attention


def _flash3() -> Kernel:
    from flash_attn_interface import flash_attn_func

    def flash3_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Any = flash_attn_func(q, k, v)
        return out[0] if isinstance(out, tuple) else out

    return flash3_attention


def _sage() -> Kernel:
    from sageattention import sageattn

    def sage_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return sageattn(q, k, v, tensor_layout="NHD")

    return sage_attention


def _flex() -> Kernel:
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=True)

    def flex(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = compiled(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return out.transpose(1, 2)

    return flex


_LOADERS = {"sdpa": _sdpa, "cudnn": _cudnn, "flash2": _flash2, "flash3": _flash3, "sage": _sage, "flex": _flex}
