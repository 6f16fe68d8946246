"""How far a training has come, in one file, whole or not at all: everything that it needs to go on bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError
from wan2.files import Whole, whole_file
from wan2.parsing import Reading, read_json
from wan2.weights.header import read_header

if TYPE_CHECKING:
    import torch

    from wan2.training.adapters import Adapters
    from wan2.training.optimiser import Average

KEY, FORMAT = "training", 2
ADAPTER, AVERAGE, MEMORY = "adapter.", "average.", "memory."
FIELDS = {"format", "step", "origin", "best", "losses", "films", "memory"}


@dataclass
class Progress:
    """How far a training has come.

    step: how many steps were taken. best: the least validation loss, and after which step. losses: of training, the
    mean of each stretch that was reported; `validation`: of held-out clips, by step. films: scores of films, by step.
    """

    step: int = 0
    best: tuple[float, int] | None = None
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: {"training": [], "validation": []})
    films: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    @property
    def validated(self) -> bool:
        """Whether held-out clips were looked at after this step."""
        return any(step == self.step for step, _ in self.losses["validation"])

    @property
    def filmed(self) -> bool:
        """Whether films were made after this step."""
        return any(step == self.step for step, _ in self.films)


def save_training(
    path: Path,
    progress: Progress,
    origin: Mapping[str, Any],
    parts: tuple[Adapters, Average, torch.optim.Optimizer],
    whole: Whole = whole_file,
) -> None:
    """Write a state. origin: everything that decides the path, as JSON values. Raises `OSError`."""
    from safetensors.torch import save

    from wan2.training.optimiser import memory_of

    adapters, average, optimiser = parts
    memory, values = memory_of(optimiser)
    tensors = {ADAPTER + name: value for name, value in adapters.halves.items()}
    tensors |= {AVERAGE + name: value for name, value in average.values.items()}
    tensors |= {MEMORY + name: value for name, value in memory.items()}
    told = {
        "format": FORMAT,
        "step": progress.step,
        "origin": origin,
        "best": progress.best,
        "losses": progress.losses,
        "films": progress.films,
        "memory": values,
    }
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with whole(path) as part:
        part.write_bytes(save(copies, {KEY: json.dumps(told)}))


def read_training(path: Path, origin: Mapping[str, Any]) -> tuple[Progress, dict[str, Any]]:
    """What a state says of itself, and what its optimiser remembered that is no tensor. Reads the header only.

    Raises:
        InputError: no state, or one of another training: the first difference, and both values.
    """
    with Reading(path, "resume"):
        header = read_header(path)
        if KEY not in header.metadata:
            raise InputError("holds no state of a training", field="resume", value=path)
        told = read_json(header.metadata[KEY], str(path), "metadata")
        if told.keys() != FIELDS or told["format"] != FORMAT:
            raise InputError("was saved by another version of this program", field="resume", value=path)
        for name, now in json.loads(json.dumps(origin)).items():
            if (before := told["origin"].get(name)) != now:
                rule = f"was saved with `{name}` {_shown(before)}, now it is {_shown(now)}"
                raise InputError(rule, field="resume", value=path)
        best = None if told["best"] is None else (float(told["best"][0]), int(told["best"][1]))
        losses = {name: [(int(a), float(b)) for a, b in told["losses"][name]] for name in ("training", "validation")}
        films = [(int(step), dict(scores)) for step, scores in told["films"]]
        return Progress(int(told["step"]), best, losses, films), told["memory"]


def load_training(
    path: Path, memory: Mapping[str, Any], parts: tuple[Adapters, Average, torch.optim.Optimizer]
) -> None:
    """Load the tensors of a state that `read_training` accepted."""
    import torch
    from safetensors.torch import load_file

    from wan2.training.optimiser import remember

    adapters, average, optimiser = parts
    tensors = load_file(path)
    with torch.no_grad():
        for name, value in adapters.halves.items():
            value.copy_(tensors[ADAPTER + name])
        for name, value in average.values.items():
            value.copy_(tensors[AVERAGE + name])
    own = {name.removeprefix(MEMORY): value for name, value in tensors.items() if name.startswith(MEMORY)}
    remember(optimiser, own, memory)


def _shown(value: object) -> str:
    return f"{json.dumps(value):.80}"
