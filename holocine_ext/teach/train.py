"""Both experts trained, one after the other, each into a LoRA file of its own. Prints nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from holocine_ext.teach.course import Clock, Course, Lessons, Side
from holocine_ext.teach.data import Example
from holocine_ext.teach.encoded import open_encoded
from holocine_ext.teach.forecast import fitted
from holocine_ext.teach.plan import Found, expert_file
from holocine_ext.teach.settings import BEST, STATE, Job, settings_of
from wan2 import __version__
from wan2.files import whole_file
from wan2.plan.files import Files
from wan2.request.model import Noise
from wan2.run.models import Models
from wan2.streaming.phases import Placement
from wan2.training.frozen import frozen_transformer
from wan2.training.lora_file import lora_tensors, notes_of, save_lora
from wan2.training.step import Inputs
from wan2.training.team import Team
from wan2.weights.fp8 import LowBit

if TYPE_CHECKING:
    from wan2.weights.sources import TransformerFile

DTYPE = torch.bfloat16
LEVELS: dict[str, Callable[[float], tuple[float, float]]] = {
    "high": lambda boundary: (boundary, 1.0),
    "low": lambda boundary: (0.0, boundary),
}
"""The noise levels of an expert, given the boundary between the two."""

MakeFilms = Callable[[str, int, list[Example], Mapping[str, Path]], dict[str, float]]


@dataclass(frozen=True)
class Watcher:
    """Who is told how a training goes.

    stage: a stage of so many things begins. advance: one of them is done. note: a line. stepwise: a block in which
    Ctrl-C waits for the end of a step, and says whether there was one. films: makes films of held-out boards, given
    the expert, the step, the boards and the LoRA files so far; what they scored.
    """

    stage: Callable[[str, int], None]
    advance: Callable[[], None]
    note: Callable[[str], None]
    stepwise: Callable[[], AbstractContextManager[Callable[[], bool]]] = lambda: nullcontext(lambda: False)
    films: MakeFilms | None = None


class Training:
    """See `train`."""

    def __init__(self, job: Job, found: Found, files: Files, team: Team, watcher: Watcher) -> None:
        self.job, self.found, self.files, self.team, self.watcher = job, found, files, team, watcher
        self.models = Models(job.request.model, job.request.compute)
        self.record: dict[str, Any] = {}
        self.films: list[dict[str, Any]] = []
        self.streamed = 0

    def run(self) -> list[Path]:
        """See `train`."""
        job = self.job
        examples = [*self.found.train, *self.found.held_out]
        encoded = open_encoded(job.data, self.models, self.files)
        with torch.inference_mode(False):
            self.watcher.stage("Encoding clips", len(examples))
            for rank in range(self.team.size):  # one at a time: what the first has kept, the next finds
                if rank == self.team.rank:
                    encoded.encode(examples, self.models, self.files, self.watcher.advance)
                self.team.wait()
            self._fit()
            lessons = Lessons(self.found.train, self.found.held_out, encoded)
            for noise in job.watching.noises:
                if not self._is_there(noise):
                    self._expert(noise, lessons)
        self.models.close()
        return self._finish()

    def _is_there(self, noise: str) -> bool:
        """Whether an expert's file was finished by an earlier run, which had put its state away already."""
        watching = self.job.watching
        return self.job.resume and watching.file(noise).is_file() and not watching.file(noise, STATE).is_file()

    def _expert(self, noise: str, lessons: Lessons) -> None:
        job, machine = self.job, self.models.machine
        file = expert_file(job, job.request.model.expert(_noise(noise)), self.files)
        self.files.watch.add(file.header.files)
        side = side_of(job, noise)
        course = Course(file.config, job.teaching, side, lessons, self.team, machine.device)
        origin = self._origin(noise, lessons)
        path = job.watching.file(noise, STATE)
        if job.resume and path.is_file():
            course.restore(path, origin)
        self.watcher.stage(f"Teaching the {noise}-noise expert", job.teaching.steps)
        for _ in range(course.progress.step):
            self.watcher.advance()
        while (until := self._next_stop(course)) is not None:
            with self._kept(course, path, origin):
                self._stretch(course, file, until, path, origin)
            with self._kept(course, path, origin):
                self._look(course, noise)
        self._write(course, job.watching.file(noise), origin)
        progress = course.progress
        self.record[noise] = {"losses": progress.losses, "best": progress.best}
        self.films += [{"expert": noise, "step": step, **scores} for step, scores in progress.films]

    def _next_stop(self, course: Course) -> int | None:
        """The step that the next stretch goes to: this one, if clips wait to be looked at; None at the end."""
        progress = course.progress
        if self._looks(course) and not (progress.validated and (progress.filmed or self.watcher.films is None)):
            return progress.step
        if course.done:
            return None
        every = self.job.watching.validate_every or self.job.teaching.steps
        return min((progress.step // every + 1) * every, self.job.teaching.steps)

    def _looks(self, course: Course) -> bool:
        """Whether held-out clips are looked at after the step that was taken."""
        step, every = course.progress.step, self.job.watching.validate_every
        return bool(every and step) and step % every == 0

    def _stretch(self, course: Course, file: TransformerFile, until: int, path: Path, origin: dict[str, Any]) -> None:
        """Steps up to the next look at held-out clips."""
        clock = Clock.starting(self.job.watching.save_every)
        inputs = Inputs(self.job.watching.offload_inputs)
        with ExitStack() as stack:
            frozen = stack.enter_context(frozen_transformer(file, self._placement()))
            stopping = stack.enter_context(self.watcher.stepwise())
            for _ in course.run(frozen, until, inputs):
                self.files.watch.check()
                self.watcher.advance()
                if clock.is_due(course.progress.step) and self.team.leads:
                    self._save(course, path, origin)
                if stopping():
                    raise KeyboardInterrupt
            if self._looks(course) and not course.progress.validated:
                loss = course.validate(frozen)
                self.watcher.note(f"step {until}: loss of held-out clips {loss:.4f}")
                if course.is_best:  # before the state says so
                    self._write(course, self.job.watching.file(course.side.noise, BEST), {})

    def _look(self, course: Course, noise: str) -> None:
        """What follows a stretch: films of held-out boards. Every process notes that they were made."""
        if (make := self.watcher.films) is not None and self._looks(course):
            scores = self._films(course, noise, make) if self.team.leads else {}
            course.progress.films.append((course.progress.step, scores))

    def _films(self, course: Course, noise: str, make: MakeFilms) -> dict[str, float]:
        """Make films of held-out boards; what they scored."""
        watching = self.job.watching
        now = watching.file(noise, ".now.safetensors")
        self._write(course, now, {})
        loras = {noise: now, **({"high": watching.file("high")} if noise == "low" else {})}
        there = {name: path for name, path in loras.items() if path.is_file()}
        boards = list(course.lessons.held_out[: watching.films])
        try:
            return make(noise, course.progress.step, boards, there)
        finally:
            now.unlink(missing_ok=True)

    def _write(self, course: Course, path: Path, origin: Mapping[str, Any]) -> None:
        """Write a LoRA file."""
        if not self.team.leads:
            return
        notes = notes_of(course.adapters, f"{self.job.preset.name} {self.job.preset.variant} {course.side.noise}_noise")
        if origin:
            notes["training"] = json.dumps(origin)
        save_lora(path, lora_tensors(course.adapters, course.written, DTYPE), notes)

    def _kept(self, course: Course, path: Path, origin: dict[str, Any]) -> ExitStack:
        """A block after which the last whole step is in the state, however it ends."""
        stack = ExitStack()
        if self.team.leads:
            stack.callback(self._save_sound, course, path, origin)
        return stack

    def _save_sound(self, course: Course, path: Path, origin: dict[str, Any]) -> None:
        """Save, unless the end came in the middle of a step's update."""
        if course.sound:
            self._save(course, path, origin)

    def _save(self, course: Course, path: Path, origin: dict[str, Any]) -> None:
        try:
            course.save(path, origin)
        except OSError as error:
            self.watcher.note(f"the state could not be saved: {error}")

    def _finish(self) -> list[Path]:
        """The record, and the states of both experts away."""
        watching = self.job.watching
        if not self.team.leads:
            return []
        files = [watching.file(noise) for noise in watching.noises]
        if self.record:
            self._write_record(watching.record)
        for noise in watching.noises:
            watching.file(noise, STATE).unlink(missing_ok=True)
        best = [watching.file(noise, BEST) for noise in watching.noises]
        return [*files, *(path for path in best if path.is_file()), watching.record]

    def _write_record(self, path: Path) -> None:
        """What was asked for and how it went; of an expert that was finished before, as it stands there."""
        before = json.loads(path.read_text(encoding="utf-8")) if self.job.resume and path.is_file() else {}
        told: dict[str, Any] = {"program": f"holocine_train_lora {__version__}", "settings": settings_of(self.job)}
        earlier = [film for film in before.get("films", []) if film["expert"] not in self.record]
        if films := earlier + self.films:
            told["films"] = films
        with whole_file(path) as part:
            part.write_text(json.dumps({**before, **told, **self.record}, indent=1) + "\n", encoding="utf-8")

    def _origin(self, noise: str, lessons: Lessons) -> dict[str, Any]:
        """Everything that decides a training, as JSON values."""
        request = self.job.request
        expert = request.model.expert(_noise(noise))
        return {
            **settings_of(self.job),
            "expert": noise,
            "dit": self.files.fingerprint(self.files.parts(expert.flag, expert.path))["fingerprint"],
            "clips": _digest(lessons),
            "machine": self.models.machine.notes(),
            "fp8_scaled": request.compute.fp8_scaled,
            "processes": self.team.size,
        }

    def _fit(self) -> None:
        """How many blocks are streamed."""
        self.streamed = fitted(self.job, self.found, self.models.machine.free_bytes()).streamed
        if self.streamed:
            self.watcher.note(f"{self.streamed} of {self.found.config.num_layers} blocks are streamed")

    def _placement(self) -> Placement:
        compute, machine = self.job.request.compute, self.models.machine
        low_bit = LowBit(compute.quantises)
        return Placement(
            machine.device, machine.dtype, low_bit, self.streamed, compute.weights_from, note=self.watcher.note
        )


def train(job: Job, found: Found, files: Files, team: Team, watcher: Watcher) -> list[Path]:
    """Train the experts that were asked for on what was found; the files that were written.

    Raises:
        InputError: clips, models or a state that will not do.
        RunError: a loss that is not finite, or a model file that changed meanwhile.
        OSError: a file cannot be written.
    """
    return Training(job, found, files, team, watcher).run()


def side_of(job: Job, noise: str) -> Side:
    """What an expert's part of the noise is."""
    model, sampling = job.request.model, job.request.sampling
    levels = LEVELS[noise](model.dual_dit_boundary)
    return Side(noise, levels, sampling.flow_shift, model.round_timestep, job.sparse)


def _digest(lessons: Lessons) -> str:
    """A hash of every clip that is trained on: its video, prompt and cuts, and the names of those held out."""
    contents = lessons.encoded.contents(lessons.train)
    told = [[contents[one.name], one.board.prompt, one.layout.cuts] for one in lessons.train]
    held = [example.name for example in lessons.held_out]
    return sha256(json.dumps([told, held]).encode()).hexdigest()[:32]


def _noise(noise: str) -> Noise:
    return "high" if noise == "high" else "low"
