"""Fixtures that several test files share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.tiny import TinyModel, write_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A complete model with random weights."""
    return write_tiny_model(Path(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell tells what it starts in the background to ignore Ctrl-C, `nohup` to ignore that the terminal is gone, and
    so every process the tests start."""
    for ignored, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(ignored) is signal.SIG_IGN:
            signal.signal(ignored, handler)


@pytest.fixture(scope="session", autouse=True)
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    """Folders for what a run keeps for later ones, never that of the user; the first is for what many tests share."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAN2_CACHE", str(folder / "shared"))
        yield (folder / str(number) for number in count(1))


@pytest.fixture(autouse=True)
def _own_cache(_caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test begins with nothing kept, and without a person's own defaults."""
    folder = next(_caches)
    monkeypatch.setenv("WAN2_CACHE", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
