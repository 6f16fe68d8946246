"""What the file of an unfinished run says of itself: how far it has come, its settings, its model files.

Reads the header only; `run/state.py` writes states and loads their tensors. A state is private to the machine it was
made on: unlike a record it names whole paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.events import Stage
from wan2.parsing import read_json
from wan2.plan.files import naming
from wan2.plan.pieces import Origin, read_origin
from wan2.plan.saved_latents import CHANNELS, TENSOR
from wan2.plan.state_notes import NOTES
from wan2.request.flat import plain_defaults
from wan2.request.output import CODECS, VIDEO_SUFFIX
from wan2.sampling.solvers import MULTISTEP, SOLVERS, state_names
from wan2.sampling.step_cache import is_state
from wan2.weights.header import CheckpointHeader, read_header
from wan2.weights.kinds.kind import STATE
from wan2.weights.kinds.refusals import instead

FORMAT = 4
STATE_ENDING = ".state.safetensors"
# Format 3 knew fewer options; what none of them asked for was not done, as by the defaults of today.
FEWER_OPTIONS = 3
# Format 2: unipc and dpm++ had other noise levels, and what is a field of the model now was the same for every model.
OTHER_NOISE_LEVELS = 2
OLDER_MODEL = {"round_timestep": True, "vae_dtype": "auto"}
# What stages were called before they had names of their own.
OLDER_STAGES = {
    "Reading the text": Stage.ENCODE_TEXT.value,
    "Preparing previews": Stage.PREPARE_PREVIEWS.value,
    "Denoising": Stage.DENOISE.value,
    "Decoding": Stage.DECODE.value,
}
SOLVER, CACHE = "solver.", "cache."


@dataclass(frozen=True)
class SavedState:
    """What a state says, without its tensors.

    step: index of the last step that was taken. options: the settings of the run, as JSON values. scene: what an
    extension adds to the record. text: a hash of the encoded prompts. machine: the device and dtype of the latents.
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
        usual = CODECS.get(str(self.options.get("codec")), VIDEO_SUFFIX)
        return self.path.with_name(self.path.name.removesuffix(STATE_ENDING) + (suffix or usual))

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
        raise InputError("no such file", field="resume", value=path)
    with naming("resume", path):
        header = read_header(path)
    if "state" not in header.metadata:
        rule = f"holds no state of a run{instead(header.tensors, STATE)}"
        raise InputError(rule, field="resume", value=path)
    with naming("resume", path):
        notes = read_json(header.metadata["state"], str(path), "metadata")
    if notes.keys() != NOTES.keys():
        raise InputError("its metadata does not have the fields of a state", field="resume", value=path)
    for name, holds in NOTES.items():
        if not holds(notes[name]):
            raise InputError(f"its field {name} does not hold what it should", field="resume", value=path)
    if (found := notes.pop("format")) != FORMAT:
        notes["options"] = _options_of_older(path, found, notes["options"])
    notes["seconds"] = {OLDER_STAGES.get(stage, stage): spent for stage, spent in notes["seconds"].items()}
    state = SavedState(path, **notes)
    _check_tensors(state, header)
    return state


def state_origin(state: SavedState, header: CheckpointHeader | None = None) -> Origin:
    """The latents of a saved run that come from elsewhere; the state itself holds them. Raises as `read_state`."""
    with naming("resume", state.path):
        return read_origin(state.path, header or read_header(state.path))


def _options_of_older(path: Path, found: int, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a state of an older format, completed to those of today."""
    solver = options.get("sample_solver")
    if found not in (OTHER_NOISE_LEVELS, FEWER_OPTIONS) or solver not in SOLVERS:
        raise InputError("was saved by another version of this program", field="resume", value=path)
    completed = plain_defaults() | options
    if found == FEWER_OPTIONS:
        return completed
    if solver in MULTISTEP:
        rule = (
            f"was saved by a version in which `sample_solver` {solver} had other noise levels; the schedule of "
            "that solver has changed, so begin anew"
        )
        raise InputError(rule, field="resume", value=path)
    return completed | OLDER_MODEL


def _check_tensors(state: SavedState, header: CheckpointHeader) -> None:
    steps, solver = state.options.get("infer_steps"), state.options.get("sample_solver")
    if type(steps) is not int or not 0 <= state.step < steps:
        raise InputError(f"its step {state.step + 1} is none of {steps!r}", field="resume", value=state.path)
    held = {source.tensor for source in state_origin(state, header).sources}
    expected = {TENSOR, *held} | {SOLVER + name for name in state_names(str(solver), state.step + 1)}
    cached = {name.removeprefix(CACHE): shape for name, shape in header.shapes.items() if name.startswith(CACHE)}
    if header.entries.keys() - {CACHE + name for name in cached} != expected:
        raise InputError(f"does not hold the tensors of the solver {solver!r:.40}", field="resume", value=state.path)
    shape = header.shapes[TENSOR]
    if len(shape) != 5 or shape[:2] != (1, CHANNELS):
        raise InputError(f"holds latents of the shape {list(shape)[:8]}", field="resume", value=state.path)
    known = {name: entry for name, entry in header.entries.items() if name not in held}
    whole = [entry for name, entry in known.items() if cached.get(name.removeprefix(CACHE)) != ()]
    if any(entry.dtype != "F32" for entry in known.values()) or any(entry.shape != shape for entry in whole):
        raise InputError(f"its tensors are not all F32 {list(shape)}", field="resume", value=state.path)
    if bool(cached) != bool(state.options.get("step_cache")) or not is_state({n: s != () for n, s in cached.items()}):
        raise InputError("does not hold what its step cache remembers", field="resume", value=state.path)
