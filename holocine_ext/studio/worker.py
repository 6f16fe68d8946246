"""The process that makes what is in the queue, through a session. It knows the files of the queue, and no server.

It makes one job after the other, keeps the models while they fit, and ends when there was nothing to do for a minute.
Killed at any moment, it is started again and goes on from saved states.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from holocine_ext.plan import Plan, plan_video
from holocine_ext.run import Session
from holocine_ext.studio.film import QUEUE, TAKES
from holocine_ext.studio.jobs import Progress, Queue, State, StudioJob, held_lock, worker_lock
from holocine_ext.studio.speed import Speeds
from wan2.cli.flags import line_of
from wan2.cli.interrupts import Stopped, handled
from wan2.cli.main import cache_folder, check_cache, prepare
from wan2.cli.out_of_memory import explain_out_of_memory
from wan2.errors import Ended, InputError, RunError, is_out_of_memory
from wan2.events import Event, FramesDecoded, Noted, Stage, StageBegan, StepTaken
from wan2.plan.resume import BESIDE
from wan2.request.flat import SETTINGS
from wan2.request.request import Request
from wan2.run.record import host_peak_bytes
from wan2.sampling.experts import first_low_noise_step
from wan2.sampling.schedule import timesteps

IDLE_SECONDS, LOOK_SECONDS = 60.0, 0.5
PREVIEW_EVERY = 4
MOST_NOTES = 20


def main(words: Sequence[str]) -> int:
    """Make what is in the queue of a folder, on a device; the exit code."""
    folder, device = Path(words[0]), words[1]
    with held_lock(worker_lock(folder / QUEUE, device)) as alone, suppress(Stopped), handled():
        if alone:
            with Maker(folder, device) as maker:
                maker.work()
    return 0


class Maker:
    """Makes jobs, one after the other; use it in a `with`.

    Args:
        folder: that of the film.
        device: what it computes on.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.takes, self.device, self.queue = folder / TAKES, device, Queue(folder / QUEUE)
        self._session: Session | None = None

    def __enter__(self) -> Maker:
        return self

    def __exit__(self, *ended: object) -> None:
        self._close()

    def work(self) -> None:
        """Make jobs until there was nothing to do for a while."""
        since = time.monotonic()
        while time.monotonic() - since < IDLE_SECONDS:
            job = self.queue.next_job()
            if job is None:
                time.sleep(LOOK_SECONDS)
                continue
            with self.queue.holding(job.id) as mine:
                if mine:
                    self._make(job)
            since = time.monotonic()

    def _make(self, job: StudioJob) -> None:
        teller = Teller(self.queue, job)
        with Ended(teller.failed):
            self.takes.mkdir(exist_ok=True)
            plan = self.plan(job)
            made = plan.finished or self._run(plan, teller)
            teller.end("done" if made else "stopped")

    def plan(self, job: StudioJob) -> Plan:
        """The plan of a job: from where it stopped, if it did.

        Raises:
            InputError: it cannot be made.
        """
        decided = {"save_path": self.takes / f"{job.take}.mp4", "resume": BESIDE, "output_type": "video"}
        asked = job.asked(self.takes.parent)
        return plan_video(asked.request(**decided, device=self.device, preview=PREVIEW_EVERY))

    def _run(self, plan: Plan, teller: Teller) -> bool:
        """Whether the film was made; False when the person wanted something else meanwhile."""
        check_cache(plan.compute)
        prepare(plan.base.request)
        teller.schedule(plan.base.request)
        with closing(self._session_for(plan).run(plan)) as events:
            for event in events:
                teller.event(event)
                if not teller.still_wanted():
                    return False
        self._keep_speed(plan, teller)
        return True

    def _keep_speed(self, plan: Plan, teller: Teller) -> None:
        """Remember how fast a film was denoised that was made in one go, every pass of it."""
        sampling, forecast = plan.base.request.sampling, plan.forecast
        if forecast and teller.steps == sampling.infer_steps and not sampling.step_cache:
            Speeds(self.queue.folder).keep(plan.asked.base, forecast.total_flops, teller.seconds)

    def _session_for(self, plan: Plan) -> Session:
        """The session that is open, if it has what the plan needs, else a new one."""
        if self._session is None or not self._session.fits(plan.base):
            self._close()
            self._session = Session(plan.model, plan.compute, cache_folder())
        return self._session

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class Teller:
    """Writes how far one job has come."""

    def __init__(self, queue: Queue, job: StudioJob) -> None:
        self.queue, self.job = queue, job
        self.progress = Progress("running", job.tries, Stage.LOAD.value)
        self.low_from = 0
        self.steps, self.seconds = 0, 0.0
        self._since = time.monotonic()
        self._tell()

    def schedule(self, request: Request) -> None:
        """Remember which steps belong to which expert."""
        sampling = request.sampling
        times = timesteps(sampling.infer_steps, sampling.flow_shift, sampling.sample_solver)
        self.low_from = first_low_noise_step(times, request.model.dual_dit_boundary)

    def event(self, event: Event) -> None:
        """Tell what happened."""
        now = time.monotonic()
        match event:
            case StageBegan():
                self._tell(stage=event.stage.value, total=event.total, done=event.done, expert="")
                self._since = now
            case StepTaken():
                expert = "high noise" if event.index + 1 < self.low_from else "low noise"
                previews = self.progress.previews + ((event.index + 1) % PREVIEW_EVERY == 0)
                self.steps, self.seconds = self.steps + 1, self.seconds + now - self._since
                self._tell(done=event.index + 1, expert=expert, step_seconds=now - self._since, previews=previews)
                self._since = now
            case FramesDecoded():
                self._tell(done=event.first + len(event.frames))
            case Noted():
                self._tell(notes=(*self.progress.notes, event.text)[-MOST_NOTES:])

    def still_wanted(self) -> bool:
        """Whether the person still wants it now; a job that is gone is not."""
        with suppress(InputError):
            return self.queue.job(self.job.id).wanted == "run"
        return False

    def end(self, state: State) -> None:
        """Nothing more happens."""
        self._tell(state=state)

    def failed(self, error: BaseException) -> int:
        """Tell why it could not be made, in a line."""
        self._tell(state="failed", text=_line(error, self.progress.stage))
        return 1

    def _tell(self, **changes: object) -> None:
        self.progress = replace(self.progress, memory=_memory(), **changes)  # type: ignore[arg-type]
        self.queue.tell(self.job.id, self.progress)


def _line(error: BaseException, stage: str) -> str:
    if isinstance(error, InputError | RunError | OSError):
        return line_of(error, SETTINGS)
    if is_out_of_memory(error):
        return explain_out_of_memory(error, Stage(stage) if stage else None)
    return " ".join("".join(traceback.format_exception_only(error)).split())


def _memory() -> int:
    """The peak of the GPU in bytes, or of the process where there is none."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return host_peak_bytes() or 0
