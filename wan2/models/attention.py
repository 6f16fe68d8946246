"""Dense attention behind one three-argument signature. Knows nothing of layers, tokens or what the keys mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from wan2.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

HOPPER = (9, 0)
CUDNN_FIRST = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
INSTALL = {
    "flash2": "pip install flash-attn --no-build-isolation",
    "flash3": "pip install flash-attn-3 --no-build-isolation",
    "sage": "pip install sageattention",
}


class AttentionProcessor(Protocol):
    """Softmax attention, scaled by 1/sqrt(D). q [B, Lq, H, D], k and v [B, Lk, H, D] -> [B, Lq, H, D]."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from every query to the keys this processor chooses."""
        ...


def dense_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from every query to every key, with the kernel PyTorch picks."""
    return scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


def cudnn_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`dense_attention`, cuDNN asked before FlashAttention-2: on Hopper and later it is the faster of the two."""
    with sdpa_kernel(CUDNN_FIRST, set_priority=True):
        return dense_attention(q, k, v)


def attention_kernel(mode: str, device: torch.device | str) -> AttentionProcessor:
    """Dense attention for `mode`: auto, sdpa, flash2, flash3 or sage.

    `auto` is SDPA, on Hopper and later with cuDNN first. An explicit choice works or raises `InputError`.
    """
    device = torch.device(device)
    if mode == "sdpa":
        return dense_attention
    if mode == "auto":
        hopper = device.type == "cuda" and torch.cuda.get_device_capability(device) >= HOPPER
        return cudnn_attention if hopper else dense_attention
    if mode not in INSTALL:
        raise InputError(f"--attn_mode {mode}: must be one of auto, sdpa, {', '.join(INSTALL)}")
    if device.type != "cuda":
        raise InputError(f"--attn_mode {mode}: needs a CUDA device, not --device {device}")
    try:
        return _LOADERS[mode]()
    except ImportError as error:
        raise InputError(f"--attn_mode {mode}: {error}; install it with: {INSTALL[mode]}") from error


def _flash2() -> AttentionProcessor:
    from flash_attn import flash_attn_func

    def flash2_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flash_attn_func(q, k, v)

    return flash2_attention


def _flash3() -> AttentionProcessor:
    from flash_attn_interface import flash_attn_func

    def flash3_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Any = flash_attn_func(q, k, v)
        return out[0] if isinstance(out, tuple) else out

    return flash3_attention


def _sage() -> AttentionProcessor:
    from sageattention import sageattn

    def sage_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return sageattn(q, k, v, tensor_layout="NHD")

    return sage_attention


_LOADERS = {"flash2": _flash2, "flash3": _flash3, "sage": _sage}
