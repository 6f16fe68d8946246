"""The line of a table that says where it was measured."""

from __future__ import annotations

import platform

import torch

from wan2.device import resolve_machine
from wan2.options import make_options
from wan2.presets import WAN22_T2V


def machine_line() -> str:
    """Processor, threads, PyTorch and system."""
    machine = resolve_machine(make_options(WAN22_T2V, {"prompt": "-", "device": "cpu"}))
    return (
        f"machine    {machine.name}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{platform.system()} {platform.release()}"
    )
