"""Latents kept as a file: safetensors with one tensor, and the plan of the run in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError
from wan2.files import Whole, whole_file
from wan2.parsing import read_json
from wan2.shapes import SPACE_STRIDE, TIME_STRIDE, VideoShape
from wan2.weights.header import CheckpointHeader, read_header

if TYPE_CHECKING:
    from torch import Tensor

TENSOR = "latents"
LARGEST = 2**63
CHANNELS = VideoShape(1, SPACE_STRIDE, SPACE_STRIDE).latent[0]


def saved_settings(path: Path) -> dict[str, Any]:
    """What saved latents say of their video, under the names of `Options`. Reads the header only.

    Raises:
        InputError: no such file, no latents of a Wan VAE in it, or metadata that is not what this program writes.
    """
    header = _header(path)
    dtype, shape = header.tensors.get(TENSOR, ("", ()))
    if dtype != "F32" or len(shape) != 5 or shape[:2] != (1, CHANNELS) or 0 in shape or "plan" not in header.metadata:
        raise InputError(f"--latent_path {path}: holds no latents saved by this program")
    if "state" in header.metadata:
        _check_finished(path, _note(path, header, "state"))
    plan = _note(path, header, "plan")
    fps = plan.get("fps")
    if type(fps) is int and abs(fps) < LARGEST:
        fps = float(fps)
    if plan.keys() != {"fps"} or not isinstance(fps, float):
        raise InputError(f"--latent_path {path}: its plan must hold the frame rate and nothing else")
    _, _, frames, rows, columns = shape
    return {
        "num_frames": TIME_STRIDE * (frames - 1) + 1,
        "height": rows * SPACE_STRIDE,
        "width": columns * SPACE_STRIDE,
        "fps": fps,
    }


def saved_record(path: Path) -> dict[str, Any]:
    """The record of the run that saved the latents, empty if it left none. Raises as `saved_settings`."""
    header = _header(path)
    return _note(path, header, "record") if "record" in header.metadata else {}


def _header(path: Path) -> CheckpointHeader:
    if not path.is_file():
        raise InputError(f"--latent_path {path}: no such file")
    try:
        return read_header(path)
    except InputError as error:
        raise InputError(f"--latent_path {error}") from error


def _note(path: Path, header: CheckpointHeader, name: str) -> dict[str, Any]:
    """A table that the metadata holds as JSON."""
    return read_json(header.metadata[name], f"--latent_path {path}", name)


def _check_finished(path: Path, state: Mapping[str, Any]) -> None:
    """Refuse the latents of a run that has steps before it."""
    step, options = state.get("step"), state.get("options")
    steps = options.get("infer_steps") if isinstance(options, dict) else None
    if type(step) is not int or type(steps) is not int:
        raise InputError(f"--latent_path {path}: its state says no step")
    if step + 1 < steps:
        raise InputError(
            f"--latent_path {path}: is the state of an unfinished run (step {step + 1} of {steps}); give it to --resume"
        )


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
