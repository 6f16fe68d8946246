"""Training that can be stopped at any moment: seeded by step, saved whole or not at all. Knows nothing of networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch import nn

SAVE_SECONDS = 120.0
"""Seconds between two saves of the state."""


@dataclass(frozen=True)
class Schedule:
    """How long to train and how fast: `peak` is a learning rate, `cooldown` the share of `steps` in which it falls."""

    steps: int
    peak: float
    seed: int
    cooldown: float


def learning_rate(step: int, steps: int, peak: float, cooldown: float, warmup: int = 50) -> float:
    """Warm up, hold at `peak`, then fall linearly to zero over the last `cooldown` share of `steps`."""
    fall = max(1, int(steps * cooldown))
    return peak * min(1.0, (step + 1) / warmup, max(0.0, (steps - step) / fall))


def train(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[int, Random], dict[str, torch.Tensor]],
    schedule: Schedule,
) -> Iterator[str]:
    """Train `model` from the state at `path`, if any, to the last step; yields a line of progress every 50 steps.

    Every step draws its data from the seed and its own number, so a resumed run sees the same data as an unbroken one.
    """
    steps, seed = schedule.steps, schedule.seed
    start = load_state(path, model, optimizer)
    averages: dict[str, float] = {}
    saved = time.monotonic()
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, schedule.peak, schedule.cooldown)
        torch.manual_seed(seed * 1_000_003 + step)
        losses = loss_of(step, Random(seed * 1_000_003 + step))
        torch.stack([*losses.values()]).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for name, loss in losses.items():
            averages[name] = 0.98 * averages.get(name, loss.item()) + 0.02 * loss.item()
        if step % 50 == 49:
            yield f"step {step + 1}/{steps} " + " ".join(f"{name} {value:.4f}" for name, value in averages.items())
        if time.monotonic() - saved > SAVE_SECONDS:
            save_state(path, model, optimizer, step + 1)
            saved = time.monotonic()
    save_state(path, model, optimizer, steps)


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write weights, optimizer and step under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, temporary)
    temporary.replace(path)


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load what `save_state` wrote; the step to go on from, 0 without a file."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def load_model(path: Path, model: nn.Module) -> None:
    """Load only the weights of what `save_state` wrote."""
    model.load_state_dict(torch.load(path, weights_only=True)["model"])
