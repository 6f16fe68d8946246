"""Plans of several shots carried out by the base's session, with the attentions of the shots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from holocine_ext.plan import Plan
from holocine_ext.request import SceneRequest, shot_paths
from holocine_ext.shots.spans import text_spans
from holocine_ext.story.timeline import EDL_ENDING, OTIO_ENDING, Timeline
from wan2.run.claim import Claim
from wan2.run.isolated import Events
from wan2.run.job import Job
from wan2.run.session import Session as BaseSession

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from holocine_ext.pictures.sheet import ShotExport
    from holocine_ext.shots.layout import ShotLayout
    from wan2.models.branches import Strengths
    from wan2.models.conditioning import AttentionProcessor, Attentions
    from wan2.request.model import Noise
    from wan2.run.sinks import FrameSink


class Session(BaseSession):
    """Carries out plans of one model; see the base's `Session`."""

    def run(self, plan: Plan | Job) -> Events:  # type: ignore[override]
        """Carry out one plan. Leaving the loop cancels it; what it had reached is saved on the way out."""
        return super().run(plan if isinstance(plan, Job) else job_of(plan))

    def wave(self, plans: Sequence[Plan | Job]) -> Events:  # type: ignore[override]
        """Carry out several plans together; a failure is an event, and ends only its own plan."""
        return super().wave([plan if isinstance(plan, Job) else job_of(plan) for plan in plans])


def job_of(plan: Plan) -> Job:
    """A plan with what it is carried out by."""
    asked = plan.asked
    shots = _Shots(plan)
    if asked.making is None or asked.layout is None:
        return Job(plan.base, open_sinks=shots.open)
    mask = shots.mask if asked.making.shot_mask_type else None
    preview = shots.preview if plan.base.request.output.preview else None
    return Job(plan.base, shots.attentions, mask, shots.open, preview, shots.loras if asked.loras else None)


class _Shots:
    """What the shots of one plan change: attentions, a latent channel, what is written of them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.asked: SceneRequest = plan.asked

    def attentions(self, dense: AttentionProcessor) -> tuple[Attentions, Attentions]:
        """The attentions of both passes from a kernel."""
        from holocine_ext.shots.conditioning import plan_attentions

        asked = self.asked
        if asked.whole is None or asked.making is None:
            raise ValueError("saved latents are decoded without attention")
        return plan_attentions(asked.whole, self.plan.key_ranges, asked.making.sparse, dense)

    def mask(self) -> Tensor:
        """The latent channel for checkpoints that take one more."""
        from holocine_ext.shots.conditioning import mask_channel

        asked = self.asked
        if asked.whole is None or asked.making is None or asked.making.shot_mask_type is None:
            raise ValueError("there is no mask channel")
        return mask_channel(asked.whole, asked.making.shot_mask_type, asked.base.shape)

    def loras(self, noise: Noise) -> tuple[Strengths, ...]:
        """How much of each LoRA of an expert counts in each shot."""
        from holocine_ext.shots.loras import lora_strengths

        asked, base = self.asked, self.plan.base
        if asked.whole is None:
            raise ValueError("there are no shots")
        multipliers = [lora.multiplier for lora in base.request.model.expert(noise).loras]
        return lora_strengths(multipliers, asked.loras, asked.whole, text_spans(base.found.texts[0]))

    def preview(self, latents: Tensor, colours: Tensor, steps: int) -> Image.Image:
        """The contact sheet of unfinished latents."""
        from holocine_ext.pictures.sheet import ContactSheet
        from wan2.run.preview import latent_pictures
        from wan2.shapes import latent_index

        asked = self.asked
        if asked.layout is None:
            raise ValueError("there are no shots")
        title = f"step {steps} of {asked.base.sampling.infer_steps}, not decoded. {asked.shown_title}"
        sheet = ContactSheet(asked.layout, asked.base.fps, asked.shown_captions, title)
        pictures = latent_pictures(latents, colours, [latent_index(frame) for frame in sheet.wanted])
        for frame, picture in zip(sheet.wanted, pictures, strict=True):
            sheet(frame, picture)
        return sheet.image()

    @contextmanager
    def open(self, claim: Claim) -> Iterator[Sequence[FrameSink]]:
        """What gets every frame; it becomes files when the block ends well."""
        from holocine_ext.pictures.sheet import ContactSheet

        asked, base, layout = self.asked, self.asked.base, self.asked.layout
        if layout is None:
            yield ()
            return
        paths = {target.what: target.path for target in asked.also(claim.paths)}
        sheet = (
            ContactSheet(layout, base.fps, asked.shown_captions, asked.shown_title)
            if asked.shown.contact_sheet
            else None
        )
        with self._export(claim, layout) or nullcontext() as export:
            yield [sink for sink in (sheet, export) if sink is not None]
        if asked.shown.export_timeline:
            self._write_timeline(claim, layout)
        if sheet is not None:
            sheet.save(paths["contact sheet"], claim.whole)

    def _export(self, claim: Claim, layout: ShotLayout) -> ShotExport | None:
        """What writes every shot as a video of its own, if that was asked for."""
        from holocine_ext.pictures.sheet import ShotExport
        from wan2.run.codecs import Container

        asked, output = self.asked, self.asked.base.output
        if not asked.shown.export_shots:
            return None
        captions = ("",) * layout.num_shots if output.no_metadata else asked.shown_captions
        paths = shot_paths(claim.paths.video, layout.num_shots)
        made = Container(output.codec, whole=claim.whole)
        return ShotExport(paths, layout, asked.base.fps, captions, output.crf, made)

    def _write_timeline(self, claim: Claim, layout: ShotLayout) -> None:
        """The film as a timeline, in both forms."""
        asked, names = self.asked, claim.paths
        edges = [0, *layout.cuts, layout.num_frames]
        made = Timeline(names.name, names.video.name, asked.base.fps, edges, asked.shown_captions, asked.base.seed)
        for ending, text in ((OTIO_ENDING, json.dumps(made.otio(), indent=1)), (EDL_ENDING, made.edl())):
            with claim.whole(names.beside(ending)) as part:
                part.write_text(text, encoding="utf-8")
