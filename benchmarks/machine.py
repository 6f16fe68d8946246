"""The line of a table that says where it was measured."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

PROCESSORS = Path("/proc/cpuinfo")


def machine_line() -> str:
    """Processor, threads, PyTorch and system."""
    lines = PROCESSORS.read_text(encoding="utf-8").splitlines() if PROCESSORS.exists() else []
    models = [line.partition(":")[2].strip() + ", " for line in lines if line.startswith("model name")]
    return (
        f"machine    {''.join(models[:1])}{platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {platform.system()}"
    )
