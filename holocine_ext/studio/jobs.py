"""The queue as files: what is to be made, in which order, and how far it has come. Runs nothing.

The page writes `ID.json`, the worker `ID.progress.json`; each file has one writer and appears whole. So nothing is lost
when either is killed, and after a reboot the queue is what it was.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from holocine_ext.studio.asking import Asked
from wan2.errors import InputError
from wan2.files import whole_file

if TYPE_CHECKING:
    from filelock import BaseFileLock

Wanted = Literal["run", "hold", "cancel"]
State = Literal["waiting", "running", "stopped", "done", "failed"]
JOB, PROGRESS, LOCK = ".json", ".progress.json", ".lock"
ID = re.compile(r"\d{8}-\d{6}-\d{6}-\d{3}")


@dataclass(frozen=True)
class StudioJob:
    """A film to make.

    Attributes:
        id: also the name of its file; begins with the time it was asked for.
        take: the name of the film, without a suffix.
        board: the name of the board. document: what the board was when it was asked for.
        settings: by their flat names, the seed among them.
        place: jobs are made in this order.
        wanted: what the person wants of it.
        tries: how often it was asked for; a failed one is made again when this grows.
    """

    id: str
    take: str
    board: str
    document: dict[str, Any]
    settings: dict[str, Any]
    place: float
    wanted: Wanted = "run"
    tries: int = 1

    def asked(self, folder: Path) -> Asked:
        """What it is made from; the folder is that of the film."""
        return Asked(folder, self.board, self.document, self.settings)


@dataclass(frozen=True)
class Progress:
    """How far a job has come. Seconds a step are those of the last one; memory in bytes, of the device or the host."""

    state: State = "waiting"
    tries: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    expert: str = ""
    step_seconds: float = 0.0
    memory: int = 0
    previews: int = 0
    text: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Queue:
    """The jobs of a folder."""

    folder: Path
    _writing: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    def jobs(self) -> list[StudioJob]:
        """Every job, in the order in which they are made. A file that is none is passed over."""
        found = [self._read(path) for path in self._paths()]
        return sorted((job for job in found if job is not None), key=lambda job: (job.place, job.id))

    def job(self, id: str) -> StudioJob:
        """A job. Raises `InputError` when there is none."""
        job = self._read(self._path(id, JOB))
        if job is None:
            raise InputError(f"{id}: no such job")
        return job

    def add(self, asked: Asked, take: str) -> StudioJob:
        """A new job at the end."""
        with self._writing:
            last = max((job.place for job in self.jobs()), default=0.0)
            now = datetime.now()
            ids = (f"{now:%Y%m%d-%H%M%S-%f}-{number:03d}" for number in range(1000))
            free = next(id for id in ids if not self._path(id, JOB).exists())
            job = StudioJob(free, take, asked.name, dict(asked.document), dict(asked.settings), last + 1)
            self._write(job)
        return job

    def want(self, id: str, wanted: Wanted) -> None:
        """Say what is wanted of a job; `run` also makes a failed one again."""
        with self._writing:
            job = self.job(id)
            again = wanted == "run" and self.progress(id).tries == job.tries
            self._write(replace(job, wanted=wanted, tries=job.tries + again))

    def move(self, id: str, by: int) -> None:
        """Make a job so many places later, or earlier."""
        with self._writing:
            jobs = self.jobs()
            at = next((i for i, job in enumerate(jobs) if job.id == id), None)
            if at is None:
                raise InputError(f"{id}: no such job")
            job = jobs.pop(at)
            jobs.insert(min(max(at + by, 0), len(jobs)), job)
            for place, one in enumerate(jobs, 1):
                if one.place != place:
                    self._write(replace(one, place=float(place)))

    def remove(self, id: str) -> None:
        """Forget a job. Raises `InputError` while it is being made."""
        with self._writing, self.holding(id) as mine:
            if not mine:
                raise InputError(f"{id}: is being made; cancel it first")
            for ending in (JOB, PROGRESS):
                self._path(id, ending).unlink(missing_ok=True)
        self._path(id, LOCK).unlink(missing_ok=True)

    def progress(self, id: str) -> Progress:
        """How far a job has come; the beginning, where nothing was written."""
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(self._path(id, PROGRESS).read_bytes(), type=Progress)
        return Progress()

    def tell(self, id: str, progress: Progress) -> None:
        """Write how far a job has come. Losing the last word to a power cut loses nothing but that word."""
        path = self._path(id, PROGRESS)
        part = path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(progress))
        part.replace(path)

    def state(self, job: StudioJob, progress: Progress) -> State:
        """What a job is doing, also when the worker that said so is gone."""
        if progress.tries != job.tries:
            return "waiting"
        if progress.state in ("running", "stopped") and not self.is_held(job.id):
            return "waiting" if job.wanted == "run" else "stopped"
        return progress.state

    def next_job(self) -> StudioJob | None:
        """The first job that waits to be made, and that nobody makes."""
        for job in self.jobs():
            if job.wanted == "run" and self.state(job, self.progress(job.id)) == "waiting" and not self.is_held(job.id):
                return job
        return None

    @contextmanager
    def holding(self, id: str) -> Iterator[bool]:
        """A block in which this process alone makes a job, if the value is true. The lock goes with its process."""
        with held_lock(self._path(id, LOCK)) as mine:
            yield mine

    def is_held(self, id: str) -> bool:
        """Whether some process is making a job."""
        if not self._path(id, LOCK).exists():
            return False
        with self.holding(id) as mine:
            return not mine

    def _paths(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.suffix == JOB and ID.fullmatch(path.stem)]

    def _path(self, id: str, ending: str) -> Path:
        if not ID.fullmatch(id):
            raise InputError(f"{id!r}: no such job")
        return self.folder / f"{id}{ending}"

    def _read(self, path: Path) -> StudioJob | None:
        with suppress(OSError, msgspec.MsgspecError):
            job = msgspec.json.decode(path.read_bytes(), type=StudioJob)
            return job if job.id == path.stem and job.wanted in get_args(Wanted) else None
        return None

    def _write(self, job: StudioJob) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self._path(job.id, JOB)) as part:
            part.write_text(json.dumps(asdict(job), ensure_ascii=False), encoding="utf-8")


@contextmanager
def held_lock(path: Path) -> Iterator[bool]:
    """A block that holds a lock, if the value is true; another process holds it otherwise."""
    from filelock import FileLock, Timeout

    lock: BaseFileLock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def worker_lock(queue: Path, device: str) -> Path:
    """What the worker of a device holds while it lives."""
    return queue / f"worker-{device.replace(':', '-')}.lock"


def queue_values(queue: Queue) -> list[Mapping[str, Any]]:
    """The queue as JSON values for the page."""
    rows: list[Mapping[str, Any]] = []
    for job in queue.jobs():
        progress = queue.progress(job.id)
        row = asdict(progress) | {"id": job.id, "take": job.take, "board": job.board, "wanted": job.wanted}
        rows.append(row | {"state": queue.state(job, progress), "seed": job.settings.get("seed")})
    return rows


def free_take(stem: str, queue: Queue, takes: Path) -> str:
    """A name for a film that no film and no job has yet: `scene-001` and so on."""
    names = [job.take for job in queue.jobs()] + ([path.name for path in takes.iterdir()] if takes.is_dir() else [])
    numbered = re.compile(rf"{re.escape(stem)}-(\d+)")
    last = max((int(found[1]) for name in names if (found := numbered.match(name))), default=0)
    return f"{stem}-{last + 1:03d}"
