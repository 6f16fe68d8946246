"""What a run's console says of its end, and that nothing one scene raises ends a list."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from wan2.cli.console import Console
from wan2.cli.lists import Item
from wan2.cli.main import guarded
from wan2.cli.make import make_wave
from wan2.errors import InputError, RunError
from wan2.events import Event, Finished, Stage, StageBegan, StateSaved
from wan2.request.cards import Cards
from wan2.run.isolated import Events, only
from wan2.run.job import Job
from wan2.shown import LONGEST, MOST_LINES

HOSTILE = "a\x1b[2J\x9b\u202e\u200b\nsecond line"
SAFE = "a\\x1b[2J\\u009b\\u202e\\u200b second line"


class PanicException(BaseException):
    """Named like what libraries in Rust raise."""


class Unspeakable(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise KeyError("text")


ERRORS = [
    *(InputError("bad"), RunError("bad"), OSError(5, "bad"), MemoryError(), RecursionError("deep"), KeyError("k")),
    *(AttributeError("a"), TypeError("t"), UnicodeEncodeError("ascii", "é", 0, 1, "r"), StopIteration(), SystemExit(0)),
    *(SystemExit("bye"), PanicException("panic"), Unspeakable(), BrokenPipeError(32, "bad"), AssertionError()),
    *(ExceptionGroup("both", [ValueError("v")]), EOFError(), NotImplementedError(), ZeroDivisionError()),
]


class Scenes:
    """Stands for a session: the first scene of its wave ends as it is told, the second is finished."""

    late: tuple[Event, ...] = ()

    def __init__(self, first: Callable[[], Events]) -> None:
        self.first = first

    def wave(self, jobs: Sequence[Job]) -> Events:
        yield from only(range(len(jobs) - 1), self.first())
        yield Finished(1, (Path("b.mp4"),), torch.zeros(0))


def raising(error: BaseException) -> Callable[[], Events]:
    def make() -> Events:
        yield StageBegan(0, Stage.DECODE)
        raise error

    return make


def attempt(console: Console, make: Callable[[], Events], place: str = "line 1", title: str = "first") -> list[Item]:
    """Make two scenes, of which the first may fail; those that did."""
    items = [Item(place, title, "line", 1, {}), Item("line 2", "second", "line", 2, {})]
    plan = SimpleNamespace(request=SimpleNamespace(cards=Cards()), work=None)
    wave = [(item, SimpleNamespace(plan=plan)) for item in items]
    return make_wave(Scenes(make), wave, 2, console)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_scene_raises_is_that_scenes(error: BaseException, capsys: pytest.CaptureFixture[str]):
    failed: list[str] = []

    def run(console: Console) -> None:
        failed.extend(item.place for item in attempt(console, raising(error)))

    assert guarded("program", run) == 0 and failed == ["line 1"]
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert (out, lines[:2]) == ("b.mp4\n", ["first to second of 2", "first: Decoding"])
    assert lines[-1].startswith("program: line 1: ")
    expected = isinstance(error, InputError | RunError | OSError | MemoryError)
    assert ("Traceback (most recent call last):" in err) == (not expected)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_ends_a_single_run_is_a_line_and_a_code(error: BaseException, capsys: pytest.CaptureFixture[str]):
    def run(console: Console) -> None:
        console.stage("Denoising")
        raise error

    assert guarded("program", run) == (2 if isinstance(error, InputError) else 1)
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1].startswith("program: ")


def test_interrupts_are_no_failures_of_a_scene():
    def run(console: Console) -> None:
        attempt(console, raising(KeyboardInterrupt()))
        raise AssertionError("went on")

    assert guarded("program", run) == 130


def test_a_failed_scene_leaves_no_tensors_behind(capsys: pytest.CaptureFixture[str]):
    class Weights:
        pass

    left: list[bool] = []

    def make() -> Events:
        weights = Weights()
        kept.append(weakref.ref(weights))
        yield StageBegan(0, Stage.DECODE)
        raise KeyError("bug")

    def run(console: Console) -> None:
        gc.disable()
        try:
            attempt(console, make)
            left.append(kept[0]() is not None)
        finally:
            gc.enable()

    kept: list[weakref.ref[Weights]] = []
    assert guarded("program", run) == 0
    assert left == [False] and "KeyError" in capsys.readouterr().err


def test_nothing_that_is_said_can_do_anything(capsys: pytest.CaptureFixture[str]):
    def run(console: Console) -> None:
        console.stage(f"Writing {HOSTILE}")
        console.say(HOSTILE)
        console.note(HOSTILE)
        console.chose(HOSTILE)
        attempt(console, raising(KeyError(HOSTILE)), HOSTILE, HOSTILE)
        console.show(HOSTILE)
        raise RunError(HOSTILE)

    assert guarded("program", run) == 1
    out, err = capsys.readouterr()
    assert out == f"b.mp4\n{SAFE}\n".replace(" second", "\nsecond")
    assert not set(out + err) & set("\x1b\x9b\u202e\u200b\r")
    lines = err.splitlines()
    assert lines[:4] == [f"Writing {SAFE}", SAFE, f"program: warning: {SAFE}", f"program: {SAFE}"]
    assert lines[4] == f"{SAFE} to second of 2" and lines[-1] == f"program: {SAFE}"


def test_nothing_that_is_said_is_endless(capsys: pytest.CaptureFixture[str]):
    def run(console: Console) -> None:
        for text in ("x" * 10**6, "x\n" * 10**6, "\x1b" * 10**6):
            console.note(text)
            attempt(console, raising(KeyError(text)), text, text)
            attempt(console, raising(ValueError(text)), "line", "scene")
        raise RunError("y" * 10**6)

    assert guarded("program", run) == 1
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= LONGEST and len(lines) < 7 * MOST_LINES


def test_the_line_to_go_on_is_whole_and_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["program"])
    state = tmp_path / "a\x1b b.state.safetensors"
    state.write_bytes(b"")

    def run(console: Console) -> None:
        console.event(StateSaved(0, state))
        raise RunError("x" * 10**5)

    assert guarded("program", run) == 1
    assert capsys.readouterr().err.endswith(f"; to go on: program --resume $'{tmp_path}/a\\x1b b.state.safetensors'\n")


def test_a_list_too_long_to_say_again_is_not_said(capsys: pytest.CaptureFixture[str]):
    def run(console: Console) -> None:
        console.repeats(["--negative_prompt", "x" * 10**5])
        raise RunError("stopped")

    assert guarded("program", run) == 1
    assert capsys.readouterr().err == "program: stopped; to go on: the same command line with --resume\n"


def test_stages_and_bars_share_a_stream_of_any_encoding(monkeypatch: pytest.MonkeyPatch):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(written, encoding="ascii", write_through=True))

    def run(console: Console) -> None:
        console.stage("Decoding", 3)
        for _ in range(3):
            console.advance()
        console.note("夜")

    assert guarded("program", run) == 0
    said = written.getvalue().decode("ascii")
    assert "3/3" in said and "\nprogram: warning: \\u591c\n" in said.replace("\r", "\n")
