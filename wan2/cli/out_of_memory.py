"""Memory that ran out: told apart from other errors, and what to do about it. Never imports PyTorch, only asks it."""

from __future__ import annotations

import sys

from wan2.errors import is_out_of_device_memory
from wan2.events import Stage
from wan2.run.record import host_peak_bytes

SMALLER = "a smaller --video_size, a shorter --video_length"
# What helps a stage besides that.
HELPS = {
    Stage.DENOISE: ["more --blocks_to_swap", "--fp8_scaled", "--dtype bfloat16"],
    Stage.ENCODE_TEXT: ["--device cpu"],
    Stage.DECODE: ["--vae_tiling", "--vae_cache_cpu", "--dtype bfloat16"],
}
WHILE = {
    Stage.LOAD: "loading PyTorch",
    Stage.ENCODE_TEXT: "reading the text",
    Stage.PREPARE_PREVIEWS: "preparing previews",
    Stage.QUANTISE: "writing fp8 weights",
    Stage.DENOISE: "denoising",
    Stage.DECODE: "decoding",
}


def explain_out_of_memory(error: BaseException, stage: Stage | None, leanest: str = "") -> str:
    """One line: where it happened, the peak until then, the settings that would help, and which help the most."""
    device = is_out_of_device_memory(error)
    peak = _device_peak() if device else host_peak_bytes()
    where = f" while {WHILE[stage]}" if stage else ""
    shown = f" (peak {peak / 1e9:.2f} GB)" if peak else ""
    helps = ", ".join([*(HELPS.get(stage, []) if stage else []), SMALLER])
    line = f"out of {'device ' if device else ''}memory{where}{shown}; what would help: {helps}"
    return f"{line}; the least as it is: {leanest}" if leanest else line


def _device_peak() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated()
