"""How far a run has come, as a file: safetensors, with everything the run was told in the metadata.

Knows nothing of how a run works. Reading what a state says needs no PyTorch; only its tensors do. A state is private to
the machine it was made on: unlike a record it names whole paths.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError
from wan2.files import Whole, whole_file
from wan2.parsing import read_json
from wan2.plan.state_notes import NOTES
from wan2.request.request import OF_ONE_COMMAND, Options
from wan2.run.latents import CHANNELS, TENSOR
from wan2.sampling.solvers import MULTISTEP, SOLVERS, state_names
from wan2.sampling.step_cache import is_state
from wan2.weights.header import CheckpointHeader, read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wan2.sampling.denoise import DenoiseStep

FORMAT = 3
STATE_ENDING = ".state.safetensors"
# Format 2: unipc and dpm++ had other noise levels, and what is a field of the model now was the same for every model.
OLDER_FORMAT = 2
OLDER_MODEL = {"round_timestep": True, "vae_dtype": "auto"}
SOLVER, CACHE = "solver.", "cache."


@dataclass(frozen=True)
class SavedState:
    """What a state says, without its tensors.

    step: index of the last step that was taken. options: those of the run, as JSON values. scene: what an extension
    told the run. text: a hash of the encoded prompts. machine: the device and the dtype that the latents come from.
    passes: how often a transformer was run.
    """

    path: Path
    step: int
    options: dict[str, Any]
    scene: dict[str, Any]
    checkpoints: dict[str, Any]
    versions: dict[str, str]
    text: str
    machine: dict[str, Any]
    seconds: dict[str, float]
    passes: int

    @property
    def output(self) -> Path:
        """The file or folder that the run was making, beside the state wherever that lies now."""
        suffix = Path(str(self.options.get("save_path", ""))).suffix
        return self.path.with_name(self.path.name.removesuffix(STATE_ENDING) + (suffix or ".mp4"))

    @property
    def finished(self) -> bool:
        """Whether every step was taken, so that only decoding remains."""
        return self.step + 1 == self.options.get("infer_steps")


def read_state(path: Path) -> SavedState:
    """What a state says. Reads the header only.

    Raises:
        InputError: no such file, no state, or one that contradicts itself.
    """
    if not path.is_file():
        raise InputError(f"--resume {path}: no such file")
    try:
        header = read_header(path)
    except InputError as error:
        raise InputError(f"--resume {error}") from error
    if "state" not in header.metadata:
        raise InputError(f"--resume {path}: holds no state of a run")
    notes = read_json(header.metadata["state"], f"--resume {path}", "metadata")
    if notes.keys() != NOTES.keys():
        raise InputError(f"--resume {path}: its metadata does not have the fields of a state")
    for name, holds in NOTES.items():
        if not holds(notes[name]):
            raise InputError(f"--resume {path}: its field {name} does not hold what it should")
    if (found := notes.pop("format")) != FORMAT:
        notes["options"] = _options_of_older(path, found, notes["options"])
    state = SavedState(path, **notes)
    _check_tensors(state, header)
    return state


def _options_of_older(path: Path, found: int, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a state of an older format, completed to those of today."""
    solver = options.get("sample_solver")
    if found != OLDER_FORMAT or solver not in SOLVERS:
        raise InputError(f"--resume {path}: was saved by another version of this program")
    if solver in MULTISTEP:
        raise InputError(
            f"--resume {path}: was saved by a version in which --sample_solver {solver} had other noise levels; the "
            "schedule of that solver has changed, so begin anew"
        )
    return options | OLDER_MODEL


def _check_tensors(state: SavedState, header: CheckpointHeader) -> None:
    steps, solver = state.options.get("infer_steps"), state.options.get("sample_solver")
    if type(steps) is not int or not 0 <= state.step < steps:
        raise InputError(f"--resume {state.path}: its step {state.step + 1} is none of {steps!r}")
    expected = {TENSOR} | {SOLVER + name for name in state_names(str(solver), state.step + 1)}
    cached = {name.removeprefix(CACHE): shape for name, shape in header.shapes.items() if name.startswith(CACHE)}
    if header.entries.keys() - {CACHE + name for name in cached} != expected:
        raise InputError(f"--resume {state.path}: does not hold the tensors of the solver {solver!r:.40}")
    shape = header.shapes[TENSOR]
    if len(shape) != 5 or shape[:2] != (1, CHANNELS):
        raise InputError(f"--resume {state.path}: holds latents of the shape {list(shape)[:8]}")
    whole = [entry for name, entry in header.entries.items() if cached.get(name.removeprefix(CACHE)) != ()]
    if any(entry.dtype != "F32" for entry in header.entries.values()) or any(entry.shape != shape for entry in whole):
        raise InputError(f"--resume {state.path}: its tensors are not all F32 {list(shape)}")
    if bool(cached) != bool(state.options.get("step_cache")) or not is_state({n: s != () for n, s in cached.items()}):
        raise InputError(f"--resume {state.path}: does not hold what its step cache remembers")


def save_state(
    path: Path, step: DenoiseStep, notes: Mapping[str, Any], plan: Mapping[str, Any], whole: Whole = whole_file
) -> None:
    """Write a state, whole or not at all; what stood at `path` before stays until then.

    Args:
        path: the file.
        step: the latents and what solver and step cache remember.
        notes: every field of `SavedState` but the path and the step, as JSON values.
        plan: what makes finished latents readable to `--latent_path`, by its names.
        whole: how the file appears whole.
    """
    from safetensors.torch import save

    tensors = {TENSOR: step.latents} | {SOLVER + name: tensor for name, tensor in step.solver_state.items()}
    tensors |= {CACHE + name: tensor for name, tensor in step.cache_state.items()}
    # Copies: the format has no place for two names of the same memory.
    copies = {name: tensor.detach().float().cpu().clone().contiguous() for name, tensor in tensors.items()}
    state = json.dumps({"format": FORMAT, "step": step.index, **notes}, ensure_ascii=False)
    texts = {"state": state, **{name: json.dumps(value, ensure_ascii=False) for name, value in plan.items()}}
    with whole(path) as part:
        part.write_bytes(save(copies, texts))


def load_step(state: SavedState, device: torch.device | str) -> DenoiseStep:
    """The last step that was taken, on a device."""
    from safetensors.torch import load_file

    from wan2.sampling.denoise import DenoiseStep

    tensors = {name: tensor.to(device) for name, tensor in load_file(state.path).items()}
    latents = tensors.pop(TENSOR)
    solver, cache = (
        {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        for prefix in (SOLVER, CACHE)
    )
    return DenoiseStep(state.step, latents, solver, cache)


def hash_text(contexts: Tensor) -> str:
    """A hash of encoded prompts, to tell whether they came out the same again."""
    return hashlib.sha256(contexts.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()[:32]


def plain_options(options: Options) -> dict[str, Any]:
    """Options as JSON values, paths whole: of a run that may go on from another folder."""
    return {name: _whole(value) for name, value in asdict(options).items() if name not in OF_ONE_COMMAND}


def _whole(value: object) -> object:
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_whole(inner) for inner in value]
    return str(value.absolute()) if isinstance(value, Path) else value
