"""Latents kept as a file: safetensors with one tensor, and the plan of the run in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError
from wan2.loading.checkpoint import read_header
from wan2.outputs import whole_file
from wan2.shapes import SPACE_STRIDE, TIME_STRIDE, VideoShape

if TYPE_CHECKING:
    from torch import Tensor

TENSOR = "latents"
CHANNELS = VideoShape(1, SPACE_STRIDE, SPACE_STRIDE).latent[0]


def saved_settings(path: Path) -> dict[str, Any]:
    """What saved latents say of their video, under the names of `Options`. Reads the header only.

    Raises:
        InputError: no such file, or no latents of a Wan VAE in it.
    """
    if not path.is_file():
        raise InputError(f"--latent_path {path}: no such file")
    header = read_header(path)
    shape = header.tensors[TENSOR][1] if TENSOR in header.tensors else ()
    if len(shape) != 5 or shape[:2] != (1, CHANNELS) or "plan" not in header.metadata:
        raise InputError(f"--latent_path {path}: holds no latents saved by this program")
    if state := header.metadata.get("state"):
        _check_finished(path, state)
    _, _, frames, rows, columns = shape
    return {
        "num_frames": TIME_STRIDE * (frames - 1) + 1,
        "height": rows * SPACE_STRIDE,
        "width": columns * SPACE_STRIDE,
        **json.loads(header.metadata["plan"]),
    }


def _check_finished(path: Path, state: str) -> None:
    """Refuse the latents of a run that has steps before it."""
    notes = json.loads(state)
    step, steps = notes["step"] + 1, notes["options"]["infer_steps"]
    if step < steps:
        raise InputError(
            f"--latent_path {path}: is the state of an unfinished run (step {step} of {steps}); give it to --resume"
        )


def saved_record(path: Path) -> dict[str, Any]:
    """The record of the run that saved the latents; empty when it was told to leave none."""
    record: dict[str, Any] = json.loads(read_header(path).metadata.get("record", "{}"))
    return record


def save_latents(path: Path, latents: Tensor, fps: float, record: Mapping[str, Any] | None) -> None:
    """Write latents [1, 16, F, h, w] in fp32, with the frame rate and, if given, the record; whole or not at all."""
    from safetensors.torch import save

    texts = {"plan": json.dumps({"fps": fps})}
    if record is not None:
        texts["record"] = json.dumps(record, ensure_ascii=False)
    with whole_file(path) as part:
        part.write_bytes(save({TENSOR: latents.float().cpu().contiguous()}, texts))


def load_latents(path: Path) -> Tensor:
    """The latents [1, 16, F, h, w] of a file that `saved_settings` accepted, fp32 on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)[TENSOR]
