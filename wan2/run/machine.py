"""The machine a run uses: device and dtypes chosen once, memory given back and measured. Knows nothing of models."""

from __future__ import annotations

import gc
import platform
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from wan2.errors import InputError
from wan2.models.fp8 import check_fast
from wan2.models.int8 import check_product
from wan2.request.compute import Compute

AMPERE = (8, 0)
"""The compute capability from which on GPUs compute in bfloat16."""
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Machine:
    """Where a run computes, and in which dtype."""

    device: torch.device
    dtype: torch.dtype

    @property
    def wide_dtype(self) -> torch.dtype:
        """The compute dtype of the text encoder, and of a VAE without one of its own: their values overflow float16."""
        return torch.float32 if self.dtype == torch.float16 else self.dtype

    @property
    def name(self) -> str:
        """The accelerator's name, or that of the processor."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return platform.processor() or platform.machine()

    def release(self) -> None:
        """Give the driver back the device memory of what nobody holds any more; host memory returns by itself."""
        if self.device.type == "cpu":
            return
        gc.collect()
        (torch.cuda if self.device.type == "cuda" else torch.mps).empty_cache()

    def wait(self) -> None:
        """Return when everything that was queued on the device has ended."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def free_bytes(self) -> int | None:
        """Memory of the device that nobody holds; None where it does not say."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return psutil.virtual_memory().available if self.device.type == "cpu" else None

    def notes(self) -> dict[str, Any]:
        """What of the machine decides the latents to the last bit."""
        used = self.as_record()
        return {name: used[name] for name in ("device", "dtype")}

    def start_measuring(self) -> None:
        """Forget the peak of earlier runs."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def as_record(self) -> dict[str, Any]:
        """What was used, and the peak of device memory since `start_measuring` where the device says it.

        The peak counts tensors; what is reserved for them, gaps and all, is what other programs cannot have.
        """
        cuda = self.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self.device) if cuda else None
        reserved = torch.cuda.max_memory_reserved(self.device) if cuda else None
        return {
            "device": f"{self.device} ({self.name})",
            "dtype": str(self.dtype).removeprefix("torch."),
            "device_peak_bytes": peak,
            "device_reserved_bytes": reserved,
        }


def resolve_machine(compute: Compute) -> Machine:
    """The device and dtype that were asked for; `auto` takes the best there is.

    Raises:
        InputError: an explicit device that this machine does not have, or one that cannot do what was asked.
    """
    device = torch.device(_best() if compute.device == "auto" else _present(compute.device))
    compute.check_device(device.type)
    if compute.fp8_fast:
        check_fast(device)
    if compute.int8_fast:
        check_product(device)
    return Machine(device, DTYPES.get(compute.dtype, _best_dtype(device)))


def _best_dtype(device: torch.device) -> torch.dtype:
    """What `auto` computes in. GPUs before Ampere emulate bfloat16, and no attention kernel of theirs takes it."""
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < AMPERE:
        return torch.float16
    return torch.bfloat16


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _present(name: str) -> str:
    kind, _, index = name.partition(":")
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}[kind]
    if int(index or 0) >= count:
        raise InputError(
            f"this machine has {count} of {kind}; auto takes the best there is", field="device", value=name
        )
    return name
