"""How adapters move: AdamW, in 32 or 8 bits, a rate that warms up and falls, an average of the path."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wan2.training.packages import check_optimiser

BETAS = (0.9, 0.99)


def make_optimiser(name: str, parameters: Iterable[nn.Parameter], decay: float) -> torch.optim.Optimizer:
    """An optimiser; its rate is set before every step."""
    check_optimiser(name)
    if name == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        made: torch.optim.Optimizer = AdamW8bit(parameters, lr=0.0, betas=BETAS, weight_decay=decay)
        return made
    return torch.optim.AdamW(parameters, lr=0.0, betas=BETAS, weight_decay=decay)


def learning_rate(step: int, steps: int, peak: float, warmup: int, schedule: str) -> float:
    """The rate of a step: up to `peak` within `warmup` steps, then constant, or down to 0 by a line or a cosine."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[schedule]


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def memory_of(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What an optimiser remembers, as tensors and as JSON values, by the number of the parameter and its own name."""
    state = optimiser.state_dict()["state"]
    every = {f"{number}.{name}": value for number, own in state.items() for name, value in own.items()}
    tensors = {name: value for name, value in every.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in every.items() if not isinstance(value, Tensor)}


def remember(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Give an optimiser back what it remembered."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**values, **tensors}.items():
        number, _, own = name.partition(".")
        state.setdefault(int(number), {})[own] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


class Average:
    """An exponential average of parameters along their path. decay: how much of it stays in a step; 0 is none."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in parameters.items()}

    @contextmanager
    def worn(self, parameters: Mapping[str, Tensor]) -> Iterator[None]:
        """A block in which parameters have the values of the average; without an average, their own."""
        if not self.decay:
            yield
            return
        own = {name: value.detach().clone() for name, value in parameters.items()}
        self._put(parameters, self.values)
        try:
            yield
        finally:
            self._put(parameters, own)

    @staticmethod
    @torch.no_grad()
    def _put(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        for name, value in parameters.items():
            value.copy_(values[name])

    @torch.no_grad()
    def follow(self, parameters: Mapping[str, Tensor]) -> None:
        """Take a step after the parameters did."""
        for name, value in parameters.items():
            self.values[name].lerp_(value, 1 - self.decay)
