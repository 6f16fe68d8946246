"""The processes beside the first one: started, watched, and ended. Imports no PyTorch.

Each gives a sign of life every second. One that ends, or gives none for a while, ends all of them: an exchange that
waits for it fails, and says why. When the first process is gone, however it went, the others notice and end.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from wan2.errors import InputError, RunError

if TYPE_CHECKING:
    from torch.distributed import Store

SIGN = 1.0
"""Seconds between two signs of life."""
SILENCE = 15.0
"""Seconds without one after which a process is taken for hung."""
GRACE = 10.0
"""Seconds that processes get to end by themselves."""
START = "import sys; sys.path[:] = {path!r}; from wan2.run.worker import main; sys.exit(main({rank}, {size}))"
STORE = "wan2"
"""What keys of the processes begin with, where they meet."""
HOME = "127.0.0.1"
"""Where the processes of one machine meet."""
END = b"\n"
"""A sign of life, and what ends a line."""


@dataclass
class Worker:
    """A process beside the first one. seen: when it last gave a sign of life. said: what it said of its end."""

    rank: int
    process: subprocess.Popen[bytes]
    seen: float = field(default_factory=time.monotonic)
    said: bytes = b""

    def write(self, line: bytes) -> None:
        """Tell it something."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + END)
        self.process.stdin.flush()

    def hear(self, pipe: IO[bytes]) -> bool:
        """Take what it says; whether it is still there."""
        heard = os.read(pipe.fileno(), 1 << 16)
        self.seen, self.said = time.monotonic(), (self.said + heard).lstrip(END)
        return bool(heard)

    def end(self) -> None:
        """End it now; its memory on the card goes with it."""
        self.process.kill()
        self.process.wait()


class Crew:
    """The processes 1 to `size - 1` of a run, all of them on this machine, `here`. They start at once."""

    def __init__(self, size: int) -> None:
        self.size = self.here = size
        self._when_lost: Callable[[], None] = _nothing
        self._workers = [_started(rank, size) for rank in range(1, size)]
        self._lost: RunError | InputError | None = None
        self._over, self._known = threading.Event(), threading.Event()
        self._exchanging = False
        self._watch = threading.Thread(target=self._look, name="crew", daemon=True)
        self._watch.start()

    def store(self) -> Store:
        """Where all of them meet: on this machine, and nobody else is let in."""
        from torch.distributed import PrefixStore, TCPStore

        mine = socket.create_server((HOME, 0))  # the store's own would listen to the whole network
        port = mine.getsockname()[1]
        store = TCPStore(HOME, port, is_master=True, wait_for_workers=False, master_listen_fd=mine.detach())
        with self.exchanging():
            for worker in self._workers:
                worker.write(str(port).encode())
        return PrefixStore(STORE, store)

    def when_lost(self, act: Callable[[], None]) -> None:
        """What ends an exchange of this process that waits on a card, once a process is lost."""
        self._when_lost = act

    def check(self) -> None:
        """Raise what ended one of them, if one has ended."""
        if self._lost is not None:
            raise self._lost

    @contextmanager
    def exchanging(self) -> Iterator[None]:
        """A block of exchanges. When it fails, all processes end: nobody knows any more what the others wait for.

        Raises:
            RunError: a process ended, or hung; which, and how.
            InputError: the machine lacks what a process needs.
        """
        self.check()
        self._exchanging = True
        with ExitStack() as unless_it_ends_well:
            unless_it_ends_well.callback(self._give_up)
            try:
                yield
            except (RuntimeError, OSError):  # what lost connections raise: why one was lost is known in a moment
                self._known.wait(SIGN + 1)
                raise
            unless_it_ends_well.pop_all()
        self._exchanging = False

    def _give_up(self) -> None:
        """End all of them after an exchange that failed; raise what ended one of them, if that is why."""
        self._exchanging = False
        self.check()
        self.fail()

    @property
    def failed(self) -> bool:
        """Whether they have ended early."""
        return self._lost is not None

    def fail(self) -> None:
        """End all of them, because this process has failed."""
        self._over.set()
        self._lost = self._lost or RunError("the processes of the other cards were ended when a video failed")
        self.close(told=False)

    def close(self, told: bool) -> None:
        """End all of them. told: they were told to end, and get a moment for it."""
        self._over.set()
        self._watch.join()
        deadline = time.monotonic() + (GRACE if told else 0)
        for worker in self._workers:
            while worker.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            worker.end()

    def _look(self) -> None:
        """Watch until it is over or a process is lost."""
        with selectors.DefaultSelector() as pipes:
            for worker in self._workers:
                assert worker.process.stdout is not None
                pipes.register(worker.process.stdout, selectors.EVENT_READ, worker)
            before = time.monotonic()
            while not self._over.is_set() and self._lost is None:
                gone = [key.data for key, _ in pipes.select(SIGN) if not key.data.hear(key.fileobj)]
                now = time.monotonic()
                if now - before > SILENCE / 2:  # this process was stopped, and with it the others
                    for worker in self._workers:
                        worker.seen = now
                before = now
                silent = [worker for worker in self._workers if now - worker.seen > SILENCE]
                for worker in [*gone, *silent][:1]:
                    self._lose(worker, worker in gone)

    def _lose(self, lost: Worker, gone: bool) -> None:
        """All end, because one has ended, or hangs."""
        if self._over.is_set():
            return
        self._lost = _reason(lost, self.size, gone)
        for worker in self._workers:
            worker.end()
        self._known.set()
        self._when_lost()
        deadline = time.monotonic() + GRACE
        while self._exchanging and time.monotonic() < deadline:
            time.sleep(0.1)
        if self._exchanging:  # nothing ends the exchange; the state that was saved last is in its file
            os.write(2, f"{self._lost}\n".encode())
            os._exit(1)


def _started(rank: int, size: int) -> Worker:
    code = START.format(path=sys.path, rank=rank, size=size)
    started = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return Worker(rank, started)


def _reason(lost: Worker, size: int, gone: bool) -> RunError | InputError:
    """Why a process is lost, in one line."""
    name = f"process {lost.rank + 1} of {size}"
    if not gone:
        return RunError(f"{name} gave no sign of life for {SILENCE:.0f} seconds; all were ended")
    if lost.said:
        said = json.loads(lost.said.splitlines()[0])
        return InputError(f"{name}: {said['error']}") if said["input"] else RunError(f"{name}: {said['error']}")
    code = lost.process.wait()
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return RunError(f"{name} {how}; all were ended")


def _nothing() -> None:
    pass
