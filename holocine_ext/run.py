"""A checked job carried out: the base's `generate`, given the attentions of the shots and told where they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from holocine_ext.job import Job
from holocine_ext.pictures.sheet import ContactSheet, ShotExport
from holocine_ext.shots.conditioning import mask_channel, plan_attentions
from holocine_ext.shots.layout import Range
from wan2.events import Progress
from wan2.models.conditioning import PlanAttentions, attend_densely
from wan2.run.claim import Claim
from wan2.run.generate import generate

if TYPE_CHECKING:
    from wan2.run.sinks import FrameSink


def run_job(job: Job, claim: Claim, key_ranges: Sequence[Sequence[Range]] | None, progress: Progress) -> list[Path]:
    """Make the video, or decode the latents; every file that was written, the main thing first.

    Args:
        job: what `preflight.check_job` accepted.
        claim: the names of its files, held for it.
        key_ranges: what it found: for every shot the text positions it may see.
        progress: told the stages as they go.

    Raises:
        InputError, RunError: as `generate`.
    """
    shown = _Showing(job)
    outputs = generate(
        job.options,
        claim,
        _attentions(job, key_ranges),
        extra_channels=_mask(job),
        scene=job.as_record(),
        open_sinks=shown.open,
        progress=progress,
    )
    return [*outputs.written, *shown.written]


def _attentions(job: Job, key_ranges: Sequence[Sequence[Range]] | None) -> PlanAttentions:
    """What makes the attentions of both passes from a kernel; the base's own when nothing is denoised."""
    if job.making is None or job.layout is None:
        return attend_densely
    return partial(plan_attentions, job.layout, key_ranges, job.making.sparse)


def _mask(job: Job) -> Tensor | None:
    """The latent channel for checkpoints that take one more."""
    if job.making is None or job.layout is None or job.making.shot_mask_type is None:
        return None
    return mask_channel(job.layout, job.making.shot_mask_type, job.options.shape)


class _Showing:
    """The contact sheet and the single shots of one job; `written` are those that are done."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.written: list[Path] = []

    @contextmanager
    def open(self, claim: Claim) -> Iterator[Sequence[FrameSink]]:
        """What is to be told every frame; it becomes files when the block ends well."""
        job, request, layout = self.job, self.job.options, self.job.layout
        shown = [target.path for target in job.shown(claim.paths)]
        if layout is None:
            yield ()
            return
        sheet = ContactSheet(layout, request.fps, job.captions, job.title) if job.contact_sheet else None
        told = ("",) * layout.num_shots if request.output.no_metadata else job.captions
        shots = shown[1:] if job.contact_sheet else shown
        export = ShotExport(shots, layout, request.fps, told, request.output.crf, claim.whole) if shots else None
        with export or nullcontext():
            yield [sink for sink in (sheet, export) if sink is not None]
        self.written += shots
        if sheet is not None:
            sheet.save(shown[0], claim.whole)
            self.written.append(shown[0])
