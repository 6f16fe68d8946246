"""What a file of saved latents says of itself. Reads the header only; `run/latents.py` writes and loads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.parsing import read_json
from wan2.plan.files import naming
from wan2.shapes import SPACE_STRIDE, TIME_STRIDE, VideoShape
from wan2.weights.header import CheckpointHeader, read_header
from wan2.weights.kinds.kind import LATENTS, STATE
from wan2.weights.kinds.refusals import instead

TENSOR = "latents"
LARGEST = 2**63
CHANNELS = VideoShape(1, SPACE_STRIDE, SPACE_STRIDE).latent[0]


def saved_settings(path: Path) -> dict[str, Any]:
    """What saved latents say of their video, under the names of `Request`. Reads the header only.

    Raises:
        InputError: no such file, no latents of a Wan VAE in it, or metadata that is not what this program writes.
    """
    header = _header(path)
    dtype, shape = header.tensors.get(TENSOR, ("", ()))
    if dtype != "F32" or len(shape) != 5 or shape[:2] != (1, CHANNELS) or 0 in shape or "plan" not in header.metadata:
        rule = f"holds no latents saved by this program{instead(header.tensors, LATENTS, STATE)}"
        raise InputError(rule, field="latent_path", value=path)
    if "state" in header.metadata:
        _check_finished(path, _note(path, header, "state"))
    plan = _note(path, header, "plan")
    fps = plan.get("fps")
    if type(fps) is int and abs(fps) < LARGEST:
        fps = float(fps)
    if plan.keys() != {"fps"} or not isinstance(fps, float):
        raise InputError("its plan must hold the frame rate and nothing else", field="latent_path", value=path)
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
        raise InputError("no such file", field="latent_path", value=path)
    with naming("latent_path", path):
        return read_header(path)


def _note(path: Path, header: CheckpointHeader, name: str) -> dict[str, Any]:
    """A table that the metadata holds as JSON."""
    with naming("latent_path", path):
        return read_json(header.metadata[name], str(path), name)


def _check_finished(path: Path, state: Mapping[str, Any]) -> None:
    """Refuse the latents of a run that has steps before it."""
    step, request = state.get("step"), state.get("options")
    steps = request.get("infer_steps") if isinstance(request, dict) else None
    if type(step) is not int or type(steps) is not int:
        raise InputError("its state says no step", field="latent_path", value=path)
    if step + 1 < steps:
        raise InputError(
            f"is the state of an unfinished run (step {step + 1} of {steps}); give it to `resume`",
            field="latent_path",
            value=path,
        )
