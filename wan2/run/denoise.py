"""The steps of one plan that one expert takes, with everything that goes along: previews, states, records."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from wan2.events import Event, FileWritten, Stage, StageBegan, StepTaken
from wan2.models.transformer import WanTransformer
from wan2.parallel.first import SharedTransformer
from wan2.plan.marks import save_png
from wan2.plan.provenance import versions
from wan2.request.flat import plain_values
from wan2.request.model import Noise
from wan2.run.job import Active, paused, resumed
from wan2.run.keeper import Keeper, StateFile
from wan2.run.machine import Machine
from wan2.sampling.denoise import denoise


class Opened(NamedTuple):
    """An expert that is loaded, and where."""

    noise: Noise
    model: WanTransformer | SharedTransformer
    machine: Machine


def take_steps(one: Active, expert: Opened, alone: bool) -> Generator[Event]:
    """Every step of a plan that belongs to an expert.

    Args:
        one: the plan; its `step` moves on, and after the very last one its `latents` are set.
        expert: what takes them.
        alone: no other plan uses the device between this expert and the next.
    """
    device, last = expert.machine.device, one.steps(expert.noise).stop - 1
    if not alone:
        yield StageBegan(one.number, Stage.DENOISE, one.schedule.infer_steps, one.start)
    with torch.inference_mode():
        after = None if one.step is None else resumed(one.step, device)
        schedule = one.schedule.on(device)
    positive, negative = (*one.passes, None)[:2]
    if positive is None or one.keeper is None or one.noise is None:
        raise ValueError("the plan has no text or no noise yet")
    strengths = one.strengths(expert.noise)
    positive = replace(positive, strengths=strengths)
    if negative is not None:
        negative = replace(negative, strengths=tuple(each.of_another_text() for each in strengths))
    model = expert.model
    if isinstance(model, SharedTransformer) and one.plan.work is not None:
        model = model.sharing(one.plan.work.split)
    steps = denoise(lambda _: nullcontext(model), one.noise.to(device), schedule, positive, negative, after)
    with one.recorder.timed(Stage.DENOISE), closing(steps):
        for step in steps:
            one.plan.files.watch.check()  # before the step counts: with other weights it would be neither old nor new
            one.recorder.passes += step.passes
            one.keeper.took(step)
            one.step = step
            yield from _preview(one)
            if one.keeper.is_due(step):  # after its preview, which a run that goes on from here does not draw again
                yield one.keeper.save()
            yield StepTaken(one.number, step.index, step.latents)
            if step.index == last:
                break
    _rest(one, alone)
    if not one.keeper.saved and (one.latents is not None or not alone):
        yield one.keeper.save()
    expert.machine.release()


def _rest(one: Active, alone: bool) -> None:
    """After the steps of an expert: the latents are finished, or wait where the next plan does not need the room."""
    if one.step is None:
        raise ValueError("no step was taken")
    if one.start == one.schedule.infer_steps:
        one.latents = one.shown(one.step.latents.cpu())
    elif not alone:
        one.step = paused(one.step)


def _preview(one: Active) -> Generator[Event]:
    every, step = one.request.output.preview, one.step
    if one.colours is None or step is None or (step.index + 1) % every:
        return
    from wan2.run.preview import preview_sheet

    if one.job.draw_preview is None:
        picture = preview_sheet(step.latents, one.colours)
    else:
        picture = one.job.draw_preview(step.latents, one.colours, step.index + 1)
    with one.claim.whole(one.claim.paths.preview) as part:
        save_png(picture, part)
    yield FileWritten(one.number, one.claim.paths.preview)


def keep_state(one: Active, machine: Machine, late: list[Event]) -> Keeper:
    """What saves the state of a plan. `late`: where the events go that happen when it is left early."""
    plan, recorder = one.plan, one.recorder

    def notes() -> dict[str, Any]:
        return {
            "options": plain_values(plan.request, whole_paths=True),
            "scene": dict(plan.extension.scene),
            "checkpoints": plan.checkpoints,
            "versions": versions(),
            "text": one.text,
            "machine": machine.notes() | {"attention": recorder.attention},
            "seconds": recorder.spent(),
            "passes": recorder.passes,
        }

    def texts() -> dict[str, Any]:
        record = {} if plan.request.output.no_metadata else {"record": recorder.so_far()}
        return {"plan": {"fps": plan.request.fps}} | record

    file = StateFile(one.number, one.claim.paths.state, one.claim.whole, one.footage)
    return Keeper(file, plan.request.output.save_every, notes, texts, late)
