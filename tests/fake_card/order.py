"""What is ordered before what, when threads queue work on the streams of a GPU: a model of CUDA's rules, without a GPU.

Threads and streams are lines of actions. An action comes after the ones before it on its line, and after those whose
clock it was given: a stream gets that of the thread that queues on it and of the events it waits for, a thread that of
what it waits for. Two accesses of one memory, one of them a write, must be ordered; if they are not, that is a race.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

Clock = dict[str, int]
"""Line -> how many of its actions are known to have ended."""


class Access(NamedTuple):
    """A use of a memory: the line, its number there, whether it writes, and what it is called."""

    line: str
    number: int
    writes: bool
    name: str


class Order:
    """The actions of one run, and the races among them."""

    def __init__(self) -> None:
        self.races: list[str] = []
        self.computing = Stream(self, "computing stream")
        self._clocks: dict[str, Clock] = defaultdict(dict)
        self._accesses: dict[Hashable, list[Access]] = defaultdict(list)
        self._lock = threading.RLock()
        self._local = threading.local()

    @property
    def thread(self) -> str:
        """The line of the calling thread."""
        return threading.current_thread().name

    def clock(self, line: str) -> Clock:
        """What a line knows now."""
        with self._lock:
            return dict(self._clocks[line])

    def act(self, line: str, *after: Clock) -> Clock:
        """An action on a line, after what it had and these; what is known when it has ended."""
        with self._lock:
            clock = self._clocks[line]
            for other in after:
                for name, number in other.items():
                    clock[name] = max(clock.get(name, 0), number)
            clock[line] = clock.get(line, 0) + 1
            return dict(clock)

    def access(self, line: str, memory: Hashable, name: str, *after: Clock, writes: bool) -> None:
        """An action that uses a memory."""
        with self._lock:
            clock = self.act(line, *after)
            for other in self._accesses[memory]:
                if (writes or other.writes) and clock.get(other.line, 0) < other.number:
                    self.races.append(f"{memory}: {name} ({line}) may come before {other.name} ({other.line})")
            self._accesses[memory].append(Access(line, clock[line], writes, name))

    def queue(self, stream: Stream, memory: Hashable, name: str, *, writes: bool) -> None:
        """Work that the calling thread queues on a stream."""
        self.access(stream.name, memory, name, self.clock(self.thread), writes=writes)

    def memories(self, kind: str) -> list[Hashable]:
        """Every memory of a kind that was used: those whose first part is that."""
        with self._lock:
            return [memory for memory in self._accesses if isinstance(memory, tuple) and memory[0] == kind]

    @property
    def current(self) -> Stream:
        """The stream on which the calling thread queues."""
        return getattr(self._local, "stream", self.computing)

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        """`torch.cuda.stream`: a block in which the calling thread queues on a stream."""
        before, self._local.stream = self.current, stream
        try:
            yield
        finally:
            self._local.stream = before


class Stream:
    """Stands for `torch.cuda.Stream`."""

    def __init__(self, order: Order, name: str) -> None:
        self.order, self.name = order, name

    def wait_event(self, event: Event) -> None:
        """What is queued from here on waits for the event, if it was ever recorded."""
        self.order.act(self.name, event.clock, self.order.clock(self.order.thread))

    def wait_stream(self, other: Stream) -> None:
        """What is queued from here on waits for what the other stream has."""
        self.order.act(self.name, self.order.clock(other.name), self.order.clock(self.order.thread))

    def synchronize(self) -> None:
        """The calling thread waits for the stream."""
        self.order.act(self.order.thread, self.order.clock(self.name))


class Event:
    """Stands for `torch.cuda.Event`: a point of a stream, recorded again and again."""

    def __init__(self, order: Order) -> None:
        self.order, self.clock = order, Clock()

    def record(self, stream: Stream) -> None:
        """The point that the stream has reached."""
        self.clock = self.order.act(stream.name, self.order.clock(self.order.thread))

    def synchronize(self) -> None:
        """The calling thread waits for the point."""
        self.order.act(self.order.thread, self.clock)


class OrderedExecutor(ThreadPoolExecutor):
    """A thread pool that says what handing over work, and its results, put in order."""

    order: Order

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401
        """Work comes after what its giver did before, and whoever takes the result comes after the work."""
        order, given = self.order, self.order.clock(self.order.thread)
        ended: Clock = {}

        def run() -> Any:  # noqa: ANN401
            order.act(order.thread, given)
            try:
                return call(*args, **kwargs)
            finally:
                ended.update(order.act(order.thread))

        future = super().submit(run)
        wait = future.result

        def result(timeout: float | None = None) -> Any:  # noqa: ANN401
            try:
                return wait(timeout)
            finally:
                order.act(order.thread, ended)

        future.result = result  # type: ignore[method-assign]
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Whoever waits for the end comes after everything that the threads did."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self.order.act(self.order.thread, *(self.order.clock(thread.name) for thread in self._threads))
