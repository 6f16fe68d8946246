"""Plans made into files while a person watches: events go to the console, Ctrl-C waits for the end of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self

from wan2.cli.console import Console
from wan2.cli.lists import Item
from wan2.errors import RunError
from wan2.events import Event, Failed, Stage, StageBegan
from wan2.parallel.launched import Launched
from wan2.plan.plan import Plan
from wan2.request.request import Request
from wan2.run.isolated import Events
from wan2.run.job import Job
from wan2.run.session import Session

# What plans of a wave do together.
SHARED = (Stage.LOAD, Stage.ENCODE_TEXT, Stage.QUANTISE)


def make_one(job: Job, console: Console, cache: Path, processes: Launched | None) -> None:
    """Make a single video, unless it is there already. processes: those that were started for several cards."""
    plan = job.plan
    if plan.finished:
        console.note(f"{plan.output}: is there already")
        return
    console.about(plan)
    with Session(plan.request.model, plan.request.compute, cache, plan.request.cards, processes) as session:
        _watch(session, session.run(job), console, [""])


class Sessions:
    """The session that the videos of a list are made in: another one where the model changes. Use it in a `with`.

    start: begins a session for a request; again only where `renewable`.
    """

    def __init__(self, start: Callable[[Request], Session], renewable: bool) -> None:
        self._start, self._renewable = start, renewable
        self._session: Session | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            self._session.close()

    def make(self, wave: Sequence[tuple[Item, Job]], total: int, console: Console) -> list[Item]:
        """Make the videos of one wave, those of one model after the other; those that failed."""
        failed, left = list[Item](), list(wave)
        while left:
            session = self._session_for(left[0][1].plan)
            count = next((n for n, (_, job) in enumerate(left) if not session.fits(job.plan)), len(left))
            failed += make_wave(session, left[:count], total, console)
            left = left[count:]
        return failed

    def _session_for(self, plan: Plan) -> Session:
        if self._session is not None and not self._session.fits(plan):
            if not self._renewable:
                raise RunError("processes of `torchrun` hold one model; give lines with another a command of their own")
            self._session.close()
            self._session = None
        if self._session is None:
            self._session = self._start(plan.request)
        return self._session


def make_wave(session: Session, wave: Sequence[tuple[Item, Job]], total: int, console: Console) -> list[Item]:
    """Make the videos of one wave; those that failed. total: how many videos the command makes."""
    console.about(wave[0][1].plan)
    titles = [item.title for item, _ in wave]
    places = [item.place for item, _ in wave]
    console.say(f"{titles[0]} to {titles[-1]} of {total}" if len(wave) > 1 else titles[0])
    failed = _watch(session, session.wave([job for _, job in wave]), console, titles, places)
    return [wave[number][0] for number in failed]


def _watch(
    session: Session, events: Events, console: Console, titles: Sequence[str], places: Sequence[str] = ()
) -> list[int]:
    """Show the events; the numbers of the plans that failed."""
    failed = []
    try:
        with closing(events), ExitStack() as waiting:
            stopping: Callable[[], bool] = _never
            for event in events:
                stop = stopping()
                if isinstance(event, StageBegan):
                    waiting.close()
                    denoises = event.stage is Stage.DENOISE
                    stopping = waiting.enter_context(console.stepwise()) if denoises else _never
                if isinstance(event, Failed):
                    failed.append(event.plan)
                console.event(event, _title(event, titles, places))
                if stop:
                    raise KeyboardInterrupt
    finally:
        for late in session.late:
            console.event(late, titles[late.plan])
    return failed


def _title(event: Event, titles: Sequence[str], places: Sequence[str]) -> str:
    if isinstance(event, StageBegan) and event.stage in SHARED and len(titles) > 1:
        return ""
    return places[event.plan] if isinstance(event, Failed) and places else titles[event.plan]


def _never() -> bool:
    return False
