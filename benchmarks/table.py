"""How a table of figures is made: what stands above it, its columns, and medians of ways that are taken in turn."""

from __future__ import annotations

import platform
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import torch

CPU_INFO = Path("/proc/cpuinfo")


def heading(module: str, words: Sequence[str] = ()) -> str:
    """The first lines of a table, each ended."""
    return (
        f"$ {shlex.join(['python', '-m', module, *words])}\n"
        f"machine    {processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.system()}\n"
        f"GPU        {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none: not measured'}\n\n"
    )


def processor() -> str:
    """The processor as it calls itself."""
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def interleaved(
    ways: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each way by a clock, taken in turn, every other round in the other order."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in list(ways.items())[:: -1 if number % 2 else 1]:
            started = clock()
            way()
            seconds[name].append(clock() - started)
    return {name: median(values) for name, values in seconds.items()}


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines, the first column to the left, the others to the right, as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells]).rstrip())
    return "".join(f"{line}\n" for line in lines)
