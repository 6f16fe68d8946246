"""Worker processes, one a device: started when there is work, never ended. They outlive the server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from holocine_ext.studio.film import Film
from holocine_ext.studio.jobs import Queue, held_lock, worker_lock

PACKAGE = Path(__file__).resolve().parents[2]
START = "import sys; sys.path.insert(0, {!r}); from holocine_ext.studio.worker import main; main({!r})"
LOOK_SECONDS, AGAIN_SECONDS = 1.0, 15.0
LOG = "worker.log"
LOG_BYTES = 4096


@dataclass
class Workers:
    """The workers of a film.

    `trouble` is what the last worker said that could not even begin; empty where none was kept from it.
    """

    film: Film
    queue: Queue
    devices: Sequence[str] = ("auto",)
    trouble: str = ""
    _started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _not_before: float = 0.0

    async def tend(self) -> None:
        """Start the workers that there is work for, as long as the server lives."""
        while True:
            await run_sync(self.start)
            await anyio.sleep(LOOK_SECONDS)

    def start(self) -> None:
        """Start every worker that is not there, if something waits to be made."""
        self._look_after()
        if time.monotonic() < self._not_before or self.queue.next_job() is None:
            return
        for device in self.devices:
            if not self._lives(device):
                self._start(device)

    def _look_after(self) -> None:
        """Learn which workers ended, and how; one that was killed is not in trouble."""
        for device, process in list(self._started.items()):
            code = process.poll()
            if code is None:
                continue
            del self._started[device]
            self.trouble = self._last_words() if code > 0 else ""
            if code > 0:
                self._not_before = time.monotonic() + AGAIN_SECONDS

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = (self.queue.folder / LOG).read_bytes()[-LOG_BYTES:].decode(errors="replace").split("\n")
            return next((line for line in reversed(lines) if line.strip()), "")
        return ""

    def _lives(self, device: str) -> bool:
        lock = worker_lock(self.queue.folder, device)
        if not lock.exists():
            return device in self._started
        with held_lock(lock) as free:
            return not free or device in self._started

    def _start(self, device: str) -> None:
        code = START.format(str(PACKAGE), [str(self.film.folder.absolute()), device])
        with (self.queue.folder / LOG).open("wb") as log:
            # A session of its own: Ctrl-C in the terminal ends the server, and not what is being made.
            self._started[device] = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
