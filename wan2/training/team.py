"""Several processes that train together, each on its share of a batch. Knows nothing of what is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


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
        for gradient in gradients:
            if gradient is None:
                raise ValueError("a process without gradients")
            distributed.all_reduce(gradient)
        total = torch.tensor(loss, dtype=torch.float64)
        held = total.cuda() if distributed.get_backend() == "nccl" else total
        distributed.all_reduce(held)
        return float(held)

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def joined(numbers: Mapping[str, int], device: str) -> Iterator[Team]:
    """A team until the context is left; its processes find each other as the launcher told them."""
    if numbers["size"] == 1:
        yield Team()
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Team(numbers["rank"], numbers["size"])
    finally:
        distributed.destroy_process_group()
