"""Latents as a file: safetensors with one tensor; frame rate and record in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.files import Whole, whole_file
from wan2.plan.saved_latents import TENSOR

if TYPE_CHECKING:
    from torch import Tensor


def save_latents(
    path: Path, latents: Tensor, fps: float, record: Mapping[str, Any] | None, whole: Whole = whole_file
) -> None:
    """Write latents [1, 16, F, h, w] in fp32, with the frame rate and, if given, the record; whole or not at all."""
    from safetensors.torch import save

    texts = {"plan": json.dumps({"fps": fps})}
    if record is not None:
        texts["record"] = json.dumps(record, ensure_ascii=False)
    with whole(path) as part:
        part.write_bytes(save({TENSOR: latents.float().cpu().contiguous()}, texts))


def load_latents(path: Path) -> Tensor:
    """The latents [1, 16, F, h, w] of a file that `saved_settings` accepted, fp32 on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)[TENSOR]
