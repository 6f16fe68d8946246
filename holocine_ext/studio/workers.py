"""Worker processes, one a device: started when there is work, never ended. They outlive the server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from holocine_ext.studio.film import Film
from holocine_ext.studio.jobs import Queue, held_lock, worker_lock

PACKAGE = Path(__file__).resolve().parents[2]
START = "import sys; sys.path.insert(0, {!r}); from holocine_ext.studio.worker import main; main({!r})"
LOOK_SECONDS = 1.0
LOG = "worker.log"


@dataclass(frozen=True)
class Workers:
    """The workers of a film."""

    film: Film
    queue: Queue
    devices: Sequence[str] = ("auto",)

    async def tend(self) -> None:
        """Start the workers that there is work for, as long as the server lives."""
        while True:
            await run_sync(self.start)
            await anyio.sleep(LOOK_SECONDS)

    def start(self) -> None:
        """Start every worker that is not there, if something waits to be made."""
        if self.queue.next_job() is None:
            return
        for device in self.devices:
            if not self._lives(device):
                self._start(device)

    def alive(self) -> list[str]:
        """The devices whose workers are there."""
        return [device for device in self.devices if self._lives(device)]

    def _lives(self, device: str) -> bool:
        lock = worker_lock(self.queue.folder, device)
        if not lock.exists():
            return False
        with held_lock(lock) as free:
            return not free

    def _start(self, device: str) -> None:
        code = START.format(str(PACKAGE), [str(self.film.folder.absolute()), device])
        with (self.queue.folder / LOG).open("wb") as log:
            # A session of its own: Ctrl-C in the terminal ends the server, and not what is being made.
            subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
