"""What was found out about a request before anything loads: everything that a run needs to know. No PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wan2.plan.budget import Work, chosen, within_budget, work_of
from wan2.plan.checks import Found, check_run
from wan2.plan.files import Files, input_files, inputs_of
from wan2.plan.memory import Attended
from wan2.plan.mixups import mixups
from wan2.plan.outputs import Also, Chapter, Inputs, named_outputs, nothing_else
from wan2.plan.pieces import Origin
from wan2.plan.resume import check_resume, what_remains
from wan2.plan.saved import SavedState
from wan2.plan.split import Groups
from wan2.plan.taken import check_names, check_outputs
from wan2.request.request import Request
from wan2.shapes import TIME_STRIDE, VideoShape

# The setting that names what pieces come from.
TAKE = "take"


def accept(_: Request, __: Files) -> None:
    """Refuses nothing."""


@dataclass(frozen=True)
class Extension:
    """What an extension of the base adds to a plan.

    Attributes:
        scene: what it adds to the record, as JSON values.
        deciding: what of that the latents depend on.
        also: the files that it writes.
        extra_channels: latent channels that join the noisy ones, for transformers that take 16 + n.
        attended: what its self-attention holds at once; None for the whole video.
        scales: guidance scales of single latent frames, one for each or none at all; None is the request's.
        origin: the latents of the video that come from elsewhere, and its noise.
        unseen: latent frames at the end, held while the others are made, that are no part of the video.
        chapters: parts of the video that have names, if there are any.
        groups: those of its self-attention, by which several cards can share a video.
        check: refuses what it cannot do, before the base checks the files. Raises `InputError`.
    """

    scene: Mapping[str, Any] = field(default_factory=dict)
    deciding: Mapping[str, Any] = field(default_factory=dict)
    also: Also = nothing_else
    extra_channels: int = 0
    attended: Attended | None = None
    scales: tuple[float | None, ...] = ()
    origin: Origin = Origin()
    unseen: int = 0
    chapters: tuple[Chapter, ...] = ()
    groups: Groups | None = None
    check: Callable[[Request, Files], None] = accept


@dataclass(frozen=True)
class Plan:
    """One run, found possible. Made by `make_plan` only.

    Attributes:
        request: what was asked, completed so that it fits `vram_budget`.
        extension: what an extension adds.
        files: what was opened, and watched from then on.
        inputs: setting -> every file that the command reads.
        found: the checkpoints of the transformers, and the prompts as tokens.
        work: what decides the memory of the run besides the request.
        chosen: what was completed, setting by setting.
        saved: the state that the run goes on from.
        checkpoints: fingerprints of the model files.
        finished: the video is there already, so that nothing is left to do.
        warnings: what is allowed but looks like a mistake, a line each.
    """

    request: Request
    extension: Extension
    files: Files
    inputs: Inputs
    found: Found = field(default_factory=Found)
    work: Work | None = None
    chosen: str = ""
    saved: SavedState | None = None
    checkpoints: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> VideoShape:
        """Size of the video that is shown."""
        whole = self.request.shape
        return replace(whole, num_frames=whole.num_frames - TIME_STRIDE * self.extension.unseen)

    @property
    def output(self) -> Path:
        """The file that is made, or the folder in which it gets a name of its own."""
        names = named_outputs(self.request.output.save_path)
        return names.main(self.request) if names else self.request.output.save_path


def make_plan(
    request: Request, extension: Extension | None = None, files: Files | None = None, inputs: Inputs | None = None
) -> Plan:
    """The plan of a request that can be carried out.

    Args:
        request: the run.
        extension: what an extension adds.
        files: what was opened so far, for several plans of one command.
        inputs: setting -> files that the command reads besides those of the run.

    Raises:
        InputError: the first thing that would make the run fail, or destroy what is not its own.
    """
    added, opened = extension or Extension(), files or Files()
    check_names(request, added.also)
    left = what_remains(request, added.deciding, opened)
    if left is None:
        return Plan(request, added, opened, inputs or {}, finished=True)
    read = {**(inputs or {}), **inputs_of(left)}
    if added.origin.files and left.resume not in added.origin.files:
        taken = [*added.origin.files, *read.pop(TAKE, ())]
        read = {TAKE: taken, **read}  # a file that is named by another flag, too, is called by that
    check_outputs(left, read, added.also, replace=left.output.overwrite)
    opened.watch.expect(input_files(left))
    added.check(left, opened)
    found = check_run(left, opened, added.extra_channels)
    opened.watch.add(input_files(left))
    saved = check_resume(left, added.scene, opened)
    first = next(iter(found.experts.values()), None)
    work = work_of(left, opened, first, added.attended, added.groups)
    made = within_budget(left, work)
    prints, said = opened.fingerprints(made), mixups(made, opened)
    return Plan(made, added, opened, read, found, work, chosen(left, made), saved, prints, warnings=said)
