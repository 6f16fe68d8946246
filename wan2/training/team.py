"""Several processes that train together, each on its share of a batch. Knows nothing of what is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

PATIENCE = timedelta(days=1)
"""How long processes wait for the first one, which makes films meanwhile."""


@dataclass(frozen=True)
class Team:
    """This process's number, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Which of `count` things this process does."""
        return range(self.rank, count, self.size)

    def add_up(self, gradients: Iterable[Tensor | None], loss: float) -> float:
        """Replace gradients by their sums over all processes; the sum of the losses."""
        if self.size == 1:
            return loss
        own = [gradient for gradient in gradients if gradient is not None]
        joined = torch.cat([*(gradient.flatten() for gradient in own), own[0].new_tensor([loss])])
        distributed.all_reduce(joined)
        *parts, total = joined.split([*(gradient.numel() for gradient in own), 1])
        for gradient, part in zip(own, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(total)

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            distributed.barrier()


def own_device(device: str, numbers: Mapping[str, int]) -> str:
    """The device of one of several processes: a card of its own, where cards were asked for and there are any."""
    if numbers["size"] > 1 and device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{numbers['local']}"
    return device


@contextmanager
def joined(numbers: Mapping[str, int], device: str) -> Iterator[Team]:
    """A team until the context is left; its processes find each other as the launcher told them."""
    if numbers["size"] == 1:
        yield Team()
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield Team(numbers["rank"], numbers["size"])
    finally:
        distributed.destroy_process_group()
