"""Plans carried out with models that stay loaded while they fit. Prints nothing: what happens is yielded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wan2.events import Event, Failed, Stage, StageBegan
from wan2.parallel.crew import Crew
from wan2.parallel.launched import Launched
from wan2.plan.plan import Plan
from wan2.request.cards import Cards
from wan2.request.compute import Compute
from wan2.request.model import Model
from wan2.run.claim import claimed
from wan2.run.isolated import Events, only
from wan2.run.job import Claimed, Job
from wan2.weights.sources import Lora

if TYPE_CHECKING:
    from wan2.run.models import Models


class Session:
    """Carries out plans of one model. Use it in a `with`: on leaving, everything is let go of.

    Args:
        model: the files that all plans share; guidance scales may differ, multipliers of LoRAs beside them, too.
        compute: device, precision and budget that all plans share; what is chosen to fit may differ.
        cache: the folder in which encoded texts are kept for later; None keeps none.
        cards: how many cards work on each video.
        processes: those for the cards, where they were started already; None starts them.

    `late` holds the events that happened while a wave was left early: the states that were saved then.
    """

    def __init__(
        self,
        model: Model,
        compute: Compute,
        cache: Path | None = None,
        cards: Cards | None = None,
        processes: Launched | None = None,
    ) -> None:
        self.model, self.compute, self.cache, self.cards = model, compute, cache, cards or Cards()
        self.late: list[Event] = []
        self._models: Models | None = None
        self._crew: Crew | Launched | None = processes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every model, and end the processes of other cards."""
        if self._models is not None:
            self._models.close()
            if self._models.together is not None:
                self._models.together.close()
        if self._crew is not None:
            self._crew.close(told=False)
        self._models, self._crew = None, None

    def fits(self, plan: Plan) -> bool:
        """Whether a plan is of this session's model, and computes as it does."""
        return _files(plan.request.model) == _files(self.model) and _fixed(plan.request.compute) == _fixed(self.compute)

    def run(self, job: Job | Plan) -> Events:
        """Carry out one plan. Leaving the loop cancels it; what it had reached is saved on the way out.

        Raises:
            InputError: the machine lacks what was asked for.
            RunError: another process makes this file, values are not finite, or a model file changed meanwhile.
        """
        with closing(self.wave([job])) as events:
            for event in events:
                if isinstance(event, Failed):
                    raise event.error
                yield event

    def wave(self, jobs: Sequence[Job | Plan]) -> Events:
        """Carry out several plans together; a failure is an event, and ends only its own plan.

        Raises:
            ValueError: the plans are not of this session's model and compute.
        """
        self.late.clear()
        begun: list[Claimed] = []
        with ExitStack() as held:
            # Names are held before the first thing that takes seconds: PyTorch.
            for number, job in enumerate(jobs):
                whole = job if isinstance(job, Job) else Job(job)
                self._check(whole.plan)
                if not whole.plan.finished:
                    yield from only([number], _claim(number, whole, begun, held))
            if not begun:
                return
            if "torch" not in sys.modules:
                yield StageBegan(begun[0].number, Stage.LOAD)
            if self._crew is None and self.cards.gpus > 1:
                self._crew = Crew(self.cards.gpus)  # they import PyTorch while this process does
            from wan2.run.models import Models
            from wan2.run.wave import Wave

            if self._models is None:
                self._models = Models(self.model, self.compute)
            if self._crew is not None and self._models.together is None:
                self._models.connect(self._crew)
            yield from Wave(self._models, begun, self.cache, self.late).run()

    def _check(self, plan: Plan) -> None:
        if _files(plan.request.model) != _files(self.model):
            raise ValueError("the plan is of another model than the session")
        if _fixed(plan.request.compute) != _fixed(self.compute):
            raise ValueError("the plan computes otherwise than the session")
        if plan.request.cards.gpus != self.cards.gpus:
            raise ValueError("the plan is for another number of cards than the session")


def _files(model: Model) -> object:
    """What plans of one session share: how much of a LoRA counts is open where it stays beside the weights."""
    experts = tuple(replace(expert, guidance_scale=1.0) for expert in model.experts)
    if model.branches:
        experts = tuple(replace(expert, loras=_whole(expert.loras)) for expert in experts)
    return replace(model, experts=experts, dual_dit_boundary=0.0)


def _whole(loras: tuple[Lora, ...]) -> tuple[Lora, ...]:
    return tuple(lora._replace(multiplier=1.0) for lora in loras)


def _fixed(compute: Compute) -> Compute:
    """What plans of one session share: everything but what is chosen to fit each of them."""
    return replace(compute, blocks_to_swap="auto", passes_apart=False, tile_height=0, tile_width=0, vae_cache_cpu=False)


def _claim(number: int, job: Job, begun: list[Claimed], held: ExitStack) -> Events:
    """Take the names of a plan for this process."""
    own = held.enter_context(ExitStack())
    begun.append(Claimed(number, job, own.enter_context(claimed(job.plan)), own))
    yield from ()
