"""Processes that `torchrun` started, which also watches and ends them. Imports no PyTorch at first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan2.errors import InputError, RunError
from wan2.parallel.crew import STORE

if TYPE_CHECKING:
    from torch.distributed import Store


@dataclass
class Launched:
    """One of the processes of a run, from inside: which it is, how many there are, and where all of them meet.

    here: how many of them are on this machine. local: the number of this one among those.
    """

    rank: int
    size: int
    local: int
    here: int
    address: str
    port: int
    failed: bool = False

    def store(self) -> Store:
        """Where all of them meet; `torchrun` keeps it."""
        from torch.distributed import PrefixStore, TCPStore

        return PrefixStore(STORE, TCPStore(self.address, self.port, is_master=False, wait_for_workers=False))

    def when_lost(self, act: Callable[[], None]) -> None:
        """Nothing: `torchrun` ends a process that waits for a lost one."""

    def check(self) -> None:
        """Raise `RunError` when the others can no longer be asked."""
        if self.failed:
            raise RunError("the processes of the other cards were ended when a video failed")

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """A block of exchanges."""
        self.check()
        yield

    def fail(self) -> None:
        """This process has failed; `torchrun` ends the others when it ends."""
        self.failed = True

    def close(self, told: bool) -> None:
        """Nothing to end."""


def launched(environment: Mapping[str, str]) -> Launched | None:
    """What `torchrun` says in the environment of a process; None where it started none, or only one.

    Raises:
        InputError: something else than `torchrun` said it.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if "TORCHELASTIC_RUN_ID" not in environment or int(environment.get("WORLD_SIZE", "1")) == 1:
        return None
    if missing := [name for name in names if not environment.get(name)]:
        raise InputError(f"the variable {missing[0]} is not set, which torchrun sets", field="gpus")
    rank, size, local, here = (int(environment[name]) for name in names[:4])
    return Launched(rank, size, local, here, environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
