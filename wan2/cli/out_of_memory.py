"""Memory that ran out: told apart from other errors, and what to do about it. Never imports PyTorch, only asks it."""

from __future__ import annotations

import sys
from dataclasses import fields

from wan2.request.request import Options
from wan2.run.record import host_peak_bytes

# What the CPU's allocator says, and oneDNN, whose layers want memory of their own: neither has an error of its own.
ALLOCATOR = ("DefaultCPUAllocator", "can't allocate memory", "Cannot allocate memory", "could not create a primitive")
SMALLER = "a smaller --video_size, a shorter --video_length"
# What helps a stage beside that, and the option it needs.
HELPS = {
    "Denoising": [
        ("blocks_to_swap", "more --blocks_to_swap"),
        ("fp8_scaled", "--fp8_scaled"),
        ("dtype", "--dtype bfloat16"),
    ],
    "Reading the text": [("device", "--device cpu")],
    "Decoding": [("dtype", "--dtype bfloat16")],
}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or beside it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ALLOCATOR)


def explain_out_of_memory(error: BaseException, stage: str, leanest: str = "") -> str:
    """One line: where it happened, the peak until then, the options that would help, and which help the most."""
    known = {field.name for field in fields(Options)}
    helps = [words for name, words in HELPS.get(stage, []) if name in known]
    device = type(error).__name__ == "OutOfMemoryError"
    peak = _device_peak() if device else host_peak_bytes()
    where = f" while {stage[0].lower()}{stage[1:]}" if stage else ""
    told = f" (peak {peak / 1e9:.2f} GB)" if peak else ""
    line = f"out of {'device ' if device else ''}memory{where}{told}; what would help: {', '.join([*helps, SMALLER])}"
    return f"{line}; the least as it is: {leanest}" if leanest else line


def _device_peak() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated()
