"""Ctrl-C and its kin. Knows nothing of runs.

SIGINT waits for the end of a step where it may, a second one does not. SIGTERM, SIGHUP, and what batch systems send
before they kill (SIGUSR1, SIGXCPU) never wait. While a run is unwinding nothing interrupts it any more: what follows
takes milliseconds.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_Handler = Callable[[int, FrameType | None], None]

SIGNAL_EXIT = 128
AT_ONCE = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGXCPU") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """The process was told to end; `code` is the exit code that says by which signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = SIGNAL_EXIT + number


@contextmanager
def handled() -> Iterator[None]:
    """A block in which the signals of `AT_ONCE` raise `Stopped`. Only the main thread hears of signals."""
    with _handlers(dict.fromkeys([signal.SIGINT, *AT_ONCE], _stop), outermost=True):
        yield


@contextmanager
def waiting(tell: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """A block in which the first SIGINT only calls `tell`; the callable says whether there was one."""
    asked: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        if asked:
            _stop(number, frame)
        asked.append(number)
        tell()

    def stopping() -> bool:
        if asked:
            _ignore_all()
        return bool(asked)

    with _handlers({signal.SIGINT: wait}):
        yield stopping


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    _ignore_all()
    raise Stopped(number)


def _ignore_all() -> None:
    for number in (signal.SIGINT, *AT_ONCE):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handlers(handlers: dict[signal.Signals, _Handler], outermost: bool = False) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Who starts a program with nohup or in the background has these ignored, and means it.
    heard = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handlers[number]) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            if outermost or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)
