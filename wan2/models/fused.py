"""The operations of `elementwise` in one kernel each, for GPUs with Triton: every operand is read or written once.

They round where the plain operators round, so that results differ by the order of sums alone: now and then by one step
of the dtype. What one plain kernel does already (adding with a gate, GELU by itself) is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from subprocess import SubprocessError
from typing import Any

import torch
from torch import Tensor

from wan2.errors import is_out_of_memory
from wan2.models.elementwise import Elementwise
from wan2.models.fp8 import FP8, LARGEST, SMALLEST_SCALE, Rows
from wan2.models.layers import REGIONS, Regions
from wan2.models.rope import Rope, rope_table

TRIED_DIM, TRIED_HEAD = 256, 128


@torch.library.custom_op("wan2::norm_modulated", mutates_args=())
def _norm(x: Tensor, eps: float, scale: Tensor, shift: Tensor) -> Tensor:
    from wan2.models.fused_kernels import norm_row

    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    batch, rows, columns = x.shape
    grid = (rows, batch)
    norm_row[grid](x, scale, shift, out, x.stride(0), columns, eps, WIDTH=_width(columns), num_warps=8)
    return out


@_norm.register_fake
def _(x: Tensor, eps: float, scale: Tensor, shift: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("wan2::rms_rope", mutates_args=("out",))
def _rms_rope(x: Tensor, weight: Tensor, eps: float, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    from wan2.models.fused_kernels import rms_rope_row

    batch, rows, heads, head_dim = x.shape
    pairs, turns = heads * head_dim // 2, head_dim // 2
    grid = (rows, batch)
    places = x.stride(0), out.stride(0)
    rms_rope_row[grid](x, weight, cos, sin, out, *places, pairs, turns, eps, WIDTH=_width(pairs), num_warps=8)


@_rms_rope.register_fake
def _(x: Tensor, weight: Tensor, eps: float, cos: Tensor, sin: Tensor, out: Tensor) -> None:  # noqa: ARG001
    return None


@torch.library.custom_op("wan2::quantise_rows", mutates_args=())
def _quantise(x: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    from wan2.models.fused_kernels import quantise_row

    values, scales = _room_for_rows(x)
    columns = x.shape[-1]
    grid = (scales.numel(),)
    limits = LARGEST, SMALLEST_SCALE
    quantise_row[grid](x, values, scales, columns, *limits, GELU=gelu, WIDTH=_width(columns), num_warps=8)
    return values, scales


@_quantise.register_fake
def _(x: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return _room_for_rows(x)


def _room_for_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape, dtype=FP8), x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)


def _width(columns: int) -> int:
    """The power of two that holds a row."""
    return 1 << (columns - 1).bit_length()


def _fused_norm(x: Tensor, eps: float, scale: Tensor, shift: Tensor) -> Tensor:
    return _norm(_with_rows(x), eps, scale.contiguous(), shift.contiguous())


def _fused_rms_rope(x: Tensor, weight: Tensor, eps: float, rope: Rope, out: Tensor | None = None) -> Tensor:
    out = torch.empty_like(x, memory_format=torch.contiguous_format) if out is None else out
    _rms_rope(x, weight, eps, *rope, out)
    return out


def _fused_rows(x: Tensor, gelu: bool = False) -> Rows:
    values, scale = _quantise(x.contiguous(), gelu)
    return Rows(values, scale, x.dtype)


def _with_rows(x: Tensor) -> Tensor:
    """x [B, L, columns] with the columns, and the rows of a sample, one behind the other."""
    return x if x.stride()[1:] == (x.shape[2], 1) else x.contiguous()


FUSED = Elementwise(_fused_norm, _fused_rms_rope, _fused_rows, partial(_fused_rows, gelu=True))


@lru_cache(maxsize=1)
def fused_regions() -> Regions:
    """The regions of a block with their operations fused."""
    plain: Sequence[Callable[..., Any]] = REGIONS
    regions: list[Any] = [partial(region, by=FUSED) for region in plain[:-1]]
    return Regions(*regions)


def cannot_fuse(device: torch.device, dtype: torch.dtype) -> str:
    """Why fused kernels cannot be used on a device, found out by trying; empty where they can."""
    if device.type != "cuda" or find_spec("triton") is None:
        return "it needs a GPU and Triton"
    try:
        _try(device, dtype)
    except _compiler_errors() as error:
        if is_out_of_memory(error):
            raise
        return " ".join(f"{type(error).__name__}: {error}".split())[:120]
    return ""


def _compiler_errors() -> tuple[type[Exception], ...]:
    """What Triton, the compiler that it calls and the driver raise."""
    from triton.errors import TritonError

    return RuntimeError, ImportError, OSError, SubprocessError, TritonError


def _try(device: torch.device, dtype: torch.dtype) -> None:
    """Compile and run what is used, on few numbers."""
    x = torch.zeros(1, 1, TRIED_DIM, device=device, dtype=dtype)
    modulation = torch.zeros(1, 1, TRIED_DIM, device=device)
    FUSED.norm(x, 1e-6, modulation, modulation)
    rope = rope_table((1, 1, 1), TRIED_HEAD, device)
    FUSED.rms_rope(x.unflatten(-1, (-1, TRIED_HEAD)), x.flatten(), 1e-6, rope, None)
