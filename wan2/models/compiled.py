"""The work between the attentions, compiled: one graph for each region serves every block, both experts and any length.

The attentions are not compiled, so another attention recompiles nothing. Knows nothing of what the attentions are.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch.torch_version import TorchVersion

from wan2.errors import InputError
from wan2.models.fp8 import Rows
from wan2.models.layers import REGIONS, Regions
from wan2.models.rope import Rope

if TYPE_CHECKING:
    from torch import Tensor

    from wan2.models.layers import Block

ADA = (8, 9)
# From this version on, Triton converts fp8 on older GPUs, too.
FP8_BEFORE_ADA = "2.13"
TRITON = "pip install triton"
# Round to half precision wherever the uncompiled code does, also within a fused loop.
INDUCTOR: dict[str, str | int | bool | Callable[..., Any]] = {"emulate_precision_casts": True}


@lru_cache(maxsize=2)
def compiled_regions(backend: str = "inductor") -> Regions:
    """The regions of a block, each compiled when it is first called."""
    return Regions(*(_compiled(region, backend) for region in REGIONS[:-1]))


def _compiled(region: Callable[..., Any], backend: str) -> Callable[..., Any]:
    """A compiled region with its axes of tokens marked as dynamic: one graph for any number of tokens."""
    if backend == "inductor":
        compiled = torch.compile(region, fullgraph=True, options=INDUCTOR)
    else:
        compiled = torch.compile(region, fullgraph=True, backend=backend)

    def call(block: Block, *arguments: Tensor | Rope | Rows) -> Any:  # noqa: ANN401
        for argument in arguments:
            tensors, axis = _by_tokens(argument)
            for tensor in tensors:
                if tensor.shape[axis] > 1:
                    torch._dynamo.mark_dynamic(tensor, axis)
        return compiled(block, *arguments)

    return call


def _by_tokens(argument: Tensor | Rope | Rows) -> tuple[Sequence[Tensor], int]:
    """The tensors of an argument, and their axis of tokens."""
    if isinstance(argument, Rope):
        return argument, 0
    return (argument[:2], 1) if isinstance(argument, Rows) else ((argument,), 1)


def check_compiler(device: torch.device, fp8: bool) -> None:
    """Refuse to compile where no compiler is available, or none that can do it. fp8: whether weights are in fp8.

    Raises:
        InputError: with the device, the program or the package that is needed.
    """
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if fp8 and capability < ADA and TorchVersion(torch.__version__) < FP8_BEFORE_ADA:
            rule = (
                f"PyTorch {torch.__version__} cannot compile fp8 weights for a GPU of compute capability "
                f"{capability[0]}.{capability[1]}; it needs PyTorch 2.13 or a GPU of 8.9 (Ada) or later"
            )
            raise InputError(rule, field="compile")
        from torch.utils._triton import has_triton

        if not has_triton():
            rule = f"compiling for `device` {device} needs Triton; install it with: {TRITON}"
            raise InputError(rule, field="compile")
        return
    from torch._inductor import config

    names = config.cpp.cxx
    if not any(name and shutil.which(name) for name in ((names,) if isinstance(names, str) else names)):
        rule = f"compiling for `device` {device} needs a C++ compiler such as g++ on the PATH"
        raise InputError(rule, field="compile")
