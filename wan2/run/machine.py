"""The machine a run uses: device and dtypes chosen once, memory given back and measured. Knows nothing of models."""

from __future__ import annotations

import gc
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wan2.errors import InputError
from wan2.models.fp8 import check_fast
from wan2.request.request import Options

MEMORY_FILE = Path("/proc/meminfo")
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

    def free_bytes(self) -> int | None:
        """Memory of the device that nobody holds; None where it does not say."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return _available_memory() if self.device.type == "cpu" else None

    def start_measuring(self) -> None:
        """Forget the peak of earlier runs."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def as_record(self) -> dict[str, Any]:
        """What was used, and the peak of device memory since `start_measuring` where the device says it."""
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None
        return {
            "device": f"{self.device} ({self.name})",
            "dtype": str(self.dtype).removeprefix("torch."),
            "device_peak_bytes": peak,
        }


def resolve_machine(options: Options) -> Machine:
    """The device and dtype the options ask for; `auto` takes the best there is.

    Raises:
        InputError: an explicit device that this machine does not have, or one that cannot do what was asked.
    """
    device = torch.device(_best() if options.device == "auto" else _present(options.device))
    for check in (options.check_device, options.check_fp8, options.check_vae):
        check(device.type)
    if options.fp8_fast:
        check_fast(device)
    fallback = torch.float32 if device.type == "cpu" else torch.bfloat16
    return Machine(device, DTYPES.get(options.dtype, fallback))


def _available_memory() -> int | None:
    """What Linux believes a new program could have, page cache included."""
    if not MEMORY_FILE.exists():
        return None
    lines = MEMORY_FILE.read_text(encoding="ascii").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _present(name: str) -> str:
    kind, _, index = name.partition(":")
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}[kind]
    if int(index or 0) >= count:
        raise InputError(f"--device {name}: this machine has {count} of {kind}; auto takes the best there is")
    return name
