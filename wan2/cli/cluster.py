"""The lines of a list made on a cluster of Ray: a line a task, an actor for every group of cards.

A task is the command line of the list for one shard, that of its line, with `--resume`: whoever gets it goes on from
what it finds. Only lines of text go through Ray; films and latents stay where they are written.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from wan2.cli.console import Console
from wan2.cli.lists import Item, refuse_failed
from wan2.errors import InputError
from wan2.models.kernel_table import AUTO

ANSWER = 10
"""Seconds that a cluster has to answer."""
TRIES = 3
"""How often a line is begun whose machine is lost."""
Main = Callable[[Sequence[str]], int]
"""The command line, as a function of a module that every machine of the cluster has."""


class Maker:
    """What an actor does: it makes one line of the list after the other. Lives on a machine of the cluster."""

    def __init__(self, main: Main, words: Sequence[str]) -> None:
        self.main, self.words = main, words

    def ready(self) -> None:
        """Answer, when the actor has its cards."""

    def make(self, number: int, count: int) -> Iterator[tuple[str, str]]:
        """Make line `number` of `count`: what is said meanwhile (`err`), files (`out`), in the end the code (`end`)."""
        said: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        words = [*self.words, "--shard", f"{number}/{count}", "--resume"]
        out, err = (cast("TextIO", Lines(name, said.put)) for name in ("out", "err"))

        def run() -> None:
            with redirect_stdout(out), redirect_stderr(err):
                said.put(("end", str(self.main(words))))

        thread = threading.Thread(target=run, name="line")
        thread.start()
        while True:
            yield (what := said.get())
            if what[0] == "end":
                thread.join()
                return


class Lines:
    """A stream that hands on what is written to it, line by line."""

    encoding = "utf-8"

    def __init__(self, name: str, put: Callable[[tuple[str, str]], None]) -> None:
        self.name, self.put, self.begun = name, put, ""

    def write(self, text: str) -> int:
        """Take a text."""
        *whole, self.begun = (self.begun + text).replace("\r", "\n").split("\n")
        for line in whole:
            if line.strip():
                self.put((self.name, line))
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        """Nobody looks at it here."""
        return False


@dataclass
class Spread:
    """The lines of a list, and who makes them.

    ray: the module. new: starts an actor. waiting: lines that nobody makes, by their number in the list, from 1.
    """

    ray: Any
    new: Callable[[], Any]
    items: Sequence[Item]
    console: Console
    waiting: deque[int] = field(default_factory=deque)
    starting: dict[Any, Any] = field(default_factory=dict)
    making: dict[Any, tuple[Any, int]] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    failed: list[Item] = field(default_factory=list)

    def run(self, actors: int) -> list[Item]:
        """Make every line; those that failed."""
        self.waiting.extend(range(1, len(self.items) + 1))
        for _ in range(min(actors, len(self.items))):
            self._start()
        while self.waiting or self.making:
            (ready,), _ = self.ray.wait([*self.starting, *self.making], num_returns=1, fetch_local=True)
            if ready in self.starting:
                self._begun(ready)
            else:
                self._heard(ready)
        return self.failed

    def close(self) -> None:
        """End every actor, with what it makes."""
        for actor in (*self.starting.values(), *(actor for actor, _ in self.making.values())):
            self.ray.kill(actor)

    def _start(self) -> None:
        actor = self.new()
        self.starting[actor.ready.remote()] = actor

    def _begun(self, ready: object) -> None:
        """An actor has its cards, or was lost before."""
        actor = self.starting.pop(ready)
        try:
            self.ray.get(ready)
        except self.ray.exceptions.RayActorError:
            self._start()
            return
        self._give(actor)

    def _give(self, actor: Any) -> None:  # noqa: ANN401 - ray is untyped
        """The next line, or the end."""
        if not self.waiting:
            self.ray.kill(actor)
            return
        number = self.waiting.popleft()
        self.tries[number] = self.tries.get(number, 0) + 1
        lines = actor.make.options(num_returns="streaming").remote(number, len(self.items))
        self.making[lines] = actor, number

    def _heard(self, lines: Any) -> None:  # noqa: ANN401 - ray is untyped
        actor, number = self.making[lines]
        item = self.items[number - 1]
        try:
            what, text = self.ray.get(next(lines))
        except (self.ray.exceptions.RayActorError, StopIteration):
            del self.making[lines]
            self._lost(number)
            return
        if what == "out":
            self.console.done([Path(text)])
        elif what == "err":
            self.console.say(f"{item.title}: {text}")
        else:
            del self.making[lines]
            if text != "0":
                self.failed.append(item)
            self._give(actor)

    def _lost(self, number: int) -> None:
        """The machine of a line is gone: another one goes on."""
        item, again = self.items[number - 1], self.tries[number] < TRIES
        self.console.note(f"{item.place}: its machine was lost" + ("; begun again" if again else ""))
        if again:
            self.waiting.append(number)
        else:
            self.failed.append(item)
        self._start()


def make_on_cluster(address: str, items: Sequence[Item], main: Main, words: Sequence[str], console: Console) -> None:
    """Make every line of a list on a cluster.

    Args:
        address: that of the cluster; auto is the one of this machine.
        items: the lines.
        main: the command line.
        words: what it was given.
        console: shows what is said of every line.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
        RunError: some lines failed; which.
    """
    cards = items[0].values["gpus"] or 1
    with _connected(address) as ray:
        total = ray.cluster_resources()
        kind = "GPU" if total.get("GPU") and items[0].values["device"] != "cpu" else "CPU"
        actors = sum(int(node["Resources"].get(kind, 0)) // cards for node in ray.nodes() if node["Alive"])
        if not actors:
            raise InputError(f"no machine of the cluster has {cards} of {kind}", field="cluster", value=address)
        needs = {"num_gpus": cards, "num_cpus": 1} if kind == "GPU" else {"num_cpus": cards}
        maker = ray.remote(Maker).options(**needs, max_restarts=0)
        console.say(f"{len(items)} lines on {actors} groups of cards")
        spread = Spread(ray, lambda: maker.remote(main, without(words)), items, console)
        try:
            failed = spread.run(actors)
        finally:
            spread.close()
    refuse_failed(failed, len(items))


def without(words: Sequence[str], flag: str = "--cluster") -> list[str]:
    """The words without a flag and its value."""
    left, skip = [], False
    for word in words:
        if not skip and word != flag and not word.startswith(f"{flag}="):
            left.append(word)
        skip = word == flag and not skip
    return left


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster until the block ends."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        rule = "needs Ray; install it with: pip install ray"
        raise InputError(rule, field="cluster", value=address) from error
    if address != AUTO:
        _reached(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": _PLAIN})
    except (ConnectionError, RuntimeError, ValueError) as error:
        rule = f"no cluster there ({' '.join(str(error).split())[:100]}); begin one with: ray start --head"
        raise InputError(rule, field="cluster", value=address) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reached(address: str) -> None:
    """Refuse an address where nobody answers: Ray would wait for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"no cluster there ({error}); an address is HOST:6379", field="cluster", value=address
        ) from error


# Ray hides cards from actors that ask for none, which is right, and warns that it may not do so for ever.
_PLAIN = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
