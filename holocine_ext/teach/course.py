"""One expert's training: steps that are seeded by their number, so that one that goes on makes what it would have."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from holocine_ext.teach.data import Example
from holocine_ext.teach.encoded import Draw, Encoded, draws
from holocine_ext.teach.settings import Teaching
from wan2.errors import RunError
from wan2.request.presets import SAVE_SECONDS
from wan2.training.adapters import Adapters, Rank
from wan2.training.flow import even_levels, noise_levels
from wan2.training.optimiser import Average, learning_rate, make_optimiser, set_rate
from wan2.training.state import Progress, load_training, read_training, save_training
from wan2.training.step import Frozen, Inputs, Sample, add_gradients, loss_of
from wan2.training.team import Team

if TYPE_CHECKING:
    from wan2.models.config import TransformerConfig

LEVELS = 4
"""Noise levels at which held-out clips are looked at."""
STRETCH = 50
"""Steps whose mean loss is one number of the record."""


class Side(NamedTuple):
    """An expert: high or low, and the noise levels that are its own; the schedule's shift; how timesteps are given."""

    noise: str
    levels: tuple[float, float]
    shift: float
    round_timestep: bool
    sparse: bool


@dataclass(frozen=True)
class Lessons:
    """What is learnt from: clips to train on, clips that are held out, and both encoded."""

    train: Sequence[Example]
    held_out: Sequence[Example]
    encoded: Encoded


class Course:
    """The training of one expert's adapters.

    Args:
        config: sizes of the transformer.
        teaching: how.
        side: which expert.
        lessons: of what.
        team: with whom.
        device: where.
    """

    def __init__(
        self,
        config: TransformerConfig,
        teaching: Teaching,
        side: Side,
        lessons: Lessons,
        team: Team,
        device: torch.device,
    ) -> None:
        self.teaching, self.side, self.lessons, self.team = teaching, side, lessons, team
        rank = Rank(teaching.rank, teaching.alpha or teaching.rank)
        self.adapters = Adapters(config, rank, teaching.targets, teaching.seed).to(device)
        self.parameters = dict(self.adapters.halves.items())
        self.average = Average(self.parameters, teaching.ema)
        self.optimiser = make_optimiser(teaching.optimiser, self.parameters.values(), teaching.weight_decay)
        self.progress = Progress()
        self.sound = True
        self._stretch: list[float] = []

    @property
    def done(self) -> bool:
        """Whether every step was taken."""
        return self.progress.step >= self.teaching.steps

    @property
    def written(self) -> dict[str, torch.Tensor]:
        """The values that a LoRA file gets: the average, if there is one."""
        return self.average.values if self.teaching.ema else {n: p.detach() for n, p in self.parameters.items()}

    def restore(self, path: Path, origin: dict[str, Any]) -> None:
        """Go on from a state. Raises `InputError` when it is of another training."""
        self.progress, memory = read_training(path, origin)
        load_training(path, memory, (self.adapters, self.average, self.optimiser))

    def save(self, path: Path, origin: dict[str, Any]) -> None:
        """Write the state, whole or not at all. Raises `OSError`."""
        save_training(path, self.progress, origin, (self.adapters, self.average, self.optimiser))

    def run(self, frozen: Frozen, until: int, inputs: Inputs) -> Iterator[float]:
        """Take steps up to number `until`; yields the loss of each.

        Raises:
            RunError: a loss that is not finite.
        """
        while self.progress.step < until:
            loss = self._gradients(frozen, inputs)
            self.sound = False
            self._move()
            self._note(loss)
            self.sound = True
            yield loss

    def validate(self, frozen: Frozen) -> float:
        """The mean loss of held-out clips, always at the same noise; kept, with the best."""
        levels = even_levels(LEVELS, self.side.shift, self.side.levels)
        with self.average.worn(self.parameters):
            found = [
                loss_of(frozen, self.adapters, self._sample(example, Draw(level, 1_000_003 * number + i)))
                for number, example in enumerate(self.lessons.held_out)
                for i, level in enumerate(levels)
            ]
        loss = sum(found) / len(found)
        self.progress.losses["validation"].append((self.progress.step, loss))
        if self.progress.best is None or loss < self.progress.best[0]:
            self.progress.best = (loss, self.progress.step)
        return loss

    @property
    def is_best(self) -> bool:
        """Whether the last look at held-out clips was the best."""
        return self.progress.best is not None and self.progress.best[1] == self.progress.step

    def _gradients(self, frozen: Frozen, inputs: Inputs) -> float:
        step, batch = self.progress.step, self.teaching.batch
        rng = Random(f"{self.teaching.seed} {self.side.noise} {step}")
        levels = noise_levels(rng, batch, self.side.shift, self.side.levels)
        chances = draws(rng, levels, self.teaching.caption_dropout)
        self.optimiser.zero_grad()
        for parameter in self.parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        loss = 0.0
        for number in self.team.share(batch):
            sample = self._sample(self._example(step * batch + number), chances[number])
            loss += add_gradients(frozen, self.adapters, sample, inputs, 1 / batch) / batch
        loss = self.team.add_up((parameter.grad for parameter in self.parameters.values()), loss)
        if not math.isfinite(loss):
            raise RunError(f"step {step + 1} ({self.side.noise}-noise expert): the loss is not finite")
        return loss

    def _move(self) -> None:
        teaching, step = self.teaching, self.progress.step
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), teaching.max_norm)
        rate = learning_rate(step, teaching.steps, teaching.learning_rate, teaching.warmup or 0, teaching.schedule)
        set_rate(self.optimiser, rate)
        self.optimiser.step()
        if teaching.ema:
            self.average.follow(self.parameters)

    def _note(self, loss: float) -> None:
        self.progress.step += 1
        self._stretch.append(loss)
        if self.progress.step % STRETCH == 0 or self.done:
            self.progress.losses["training"].append((self.progress.step, sum(self._stretch) / len(self._stretch)))
            self._stretch.clear()

    def _example(self, number: int) -> Example:
        """The clip of a sample: every clip once, in random order, then again in another."""
        train = self.lessons.train
        turn, place = divmod(number, len(train))
        order = list(range(len(train)))
        Random(f"{self.teaching.seed} {self.side.noise} turn {turn}").shuffle(order)
        return train[order[place]]

    def _sample(self, example: Example, draw: Draw) -> Sample:
        return self.lessons.encoded.sample(example, draw, self.side.sparse, self.side.round_timestep)


@dataclass
class Clock:
    """When a state is due: every so many steps, or once a minute."""

    every: int
    since: float

    @classmethod
    def starting(cls, every: int) -> Clock:
        """A clock that begins now."""
        return cls(every, time.monotonic())

    def is_due(self, step: int) -> bool:
        """Whether it is time to save after a step; if so, the clock begins anew."""
        due = step % self.every == 0 if self.every else time.monotonic() - self.since >= SAVE_SECONDS
        if due:
            self.since = time.monotonic()
        return due
