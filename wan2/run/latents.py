"""Latents as a file: safetensors with one tensor; frame rate and record in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.files import Whole, whole_file
from wan2.plan.files import naming
from wan2.plan.pieces import Origin, read_origin
from wan2.plan.saved_latents import TENSOR
from wan2.weights.header import read_header

if TYPE_CHECKING:
    from torch import Tensor

    from wan2.run.footage import Footage


def save_latents(
    path: Path,
    latents: Tensor,
    fps: float,
    record: Mapping[str, Any] | None,
    whole: Whole = whole_file,
    footage: Footage | None = None,
) -> None:
    """Write latents [1, 16, F, h, w] in fp32, with the frame rate and, if given, the record; whole or not at all.

    footage: what frames come from that are not decoded with the others, as `Footage.beside` leaves it.
    """
    from safetensors.torch import save

    texts = {"plan": json.dumps({"fps": fps})} | (footage.texts() if footage else {})
    if record is not None:
        texts["record"] = json.dumps(record, ensure_ascii=False)
    with whole(path) as part:
        tensors = {TENSOR: latents, **(footage.stored() if footage else {})}
        part.write_bytes(save({name: tensor.float().cpu().contiguous() for name, tensor in tensors.items()}, texts))


def load_latents(path: Path) -> Tensor:
    """The latents [1, 16, F, h, w] of a file that `saved_settings` accepted, fp32 on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)[TENSOR]


def saved_origin_of(path: Path) -> Origin:
    """Where saved latents come from that are not decoded with the others. Raises `InputError`, as `read_origin`."""
    with naming("latent_path", path):
        return read_origin(path, read_header(path))
