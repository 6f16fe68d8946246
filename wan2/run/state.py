"""How far a run has come, written to a file and read back: what `plan/saved.py` finds there, with its tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.files import Whole, whole_file
from wan2.plan.saved import CACHE, FORMAT, SOLVER, SavedState
from wan2.plan.saved_latents import TENSOR

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wan2.run.footage import Footage
    from wan2.sampling.denoise import DenoiseStep


def save_state(
    path: Path,
    step: DenoiseStep,
    notes: Mapping[str, Any],
    plan: Mapping[str, Any],
    whole: Whole = whole_file,
    footage: Footage | None = None,
) -> None:
    """Write a state, whole or not at all; what stood at `path` before stays until then.

    Args:
        path: the file.
        step: the latents and what solver and step cache remember.
        notes: every field of `SavedState` but the path and the step, as JSON values.
        plan: what makes finished latents readable to `--latent_path`, by its names.
        whole: how the file appears whole.
        footage: latents that come from elsewhere.
    """
    from safetensors.torch import save

    tensors = {TENSOR: step.latents} | {SOLVER + name: tensor for name, tensor in step.solver_state.items()}
    tensors |= {CACHE + name: tensor for name, tensor in step.cache_state.items()}
    tensors |= footage.stored() if footage else {}
    # Copies: the format has no place for two names of the same memory.
    copies = {name: tensor.detach().float().cpu().clone().contiguous() for name, tensor in tensors.items()}
    state = json.dumps({"format": FORMAT, "step": step.index, **notes}, ensure_ascii=False)
    texts = {"state": state, **{name: json.dumps(value, ensure_ascii=False) for name, value in plan.items()}}
    texts |= footage.texts() if footage else {}
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
