"""Several plans taken through the stages together, so that each model is loaded once. Prints nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wan2.events import Event, Noted, Settled, Stage, StageBegan, StateSaved
from wan2.models.conditioning import Conditioning, attend_densely
from wan2.models.forms import holds_fp8
from wan2.plan.budget import GB, all_together, within_memory
from wan2.plan.plan import Plan
from wan2.plan.provenance import versions
from wan2.plan.resume import refuse_difference, saved_origin
from wan2.request.compute import Compute
from wan2.request.model import EXPERT_FLAG, Noise
from wan2.request.request import Request
from wan2.run.attention_choice import choose_attention
from wan2.run.decode import finish
from wan2.run.denoise import Opened, keep_state, take_steps
from wan2.run.footage import Footage, held_latents, load_footage, noise_of
from wan2.run.isolated import Events, all_of, each
from wan2.run.job import Active, Claimed
from wan2.run.latents import load_latents, saved_origin_of
from wan2.run.models import Models, OpenExpert
from wan2.run.record import Recorder
from wan2.run.state import hash_text, load_step
from wan2.run.texts import KeptTexts
from wan2.sampling.denoise import DenoiseStep, given_steps
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt
from wan2.weights.sources import TransformerFile

if TYPE_CHECKING:
    from wan2.models.vae import WanVAE

NOISES: tuple[Noise, ...] = tuple(EXPERT_FLAG)


class Wave:
    """Plans that are carried out together.

    Args:
        models: what is loaded, and where.
        begun: the plans, whose names this process holds.
        texts: encoded texts that were kept.
        late: where the events go that happen when the wave is left early.
    """

    def __init__(self, models: Models, begun: Sequence[Claimed], cache: Path | None, late: list[Event]) -> None:
        self.models, self.cache, self.late = models, cache, late
        self.kernel = ""
        models.machine.start_measuring()
        self.active = [self._active(one) for one in begun]
        self._choose_what_stays(self.active)

    def run(self) -> Events:
        """Every stage of every plan, stage by stage."""
        yield from each(self.active, self._prepare)
        yield from all_of(self.active, self._encode)
        yield from all_of(self.active, self._denoise)
        yield from each(self.active, lambda one: finish(one, self.models))
        self.models.release_vae()

    def _active(self, one: Claimed) -> Active:
        """A plan that begins, with what `auto` left open decided."""
        plan = one.job.plan
        return Active(one, self._fitted(plan), Recorder(plan, datetime.now()))

    def _fitted(self, plan: Plan) -> Request:
        """The request with `auto` decided for the memory that is free now."""
        request, machine = plan.request, self.models.machine
        if plan.work is None or plan.request.latent_path is not None:
            return request
        free = machine.free_bytes()
        free = None if free is None else free + self.models.held_bytes()
        dtype = str(machine.dtype).removeprefix("torch.")
        sized = request.computing(device=machine.device.type, dtype=dtype)
        made = within_memory(sized, plan.work, free).compute
        return request.computing(
            blocks_to_swap=made.blocks_to_swap,
            passes_apart=made.passes_apart,
            tile_height=made.tile_height,
            tile_width=made.tile_width,
            vae_cache_cpu=made.vae_cache_cpu,
        )

    def _choose_what_stays(self, active: Sequence[Active]) -> None:
        """Models stay loaded if all of them fit together with the largest work of the wave."""
        models, budget = self.models, self.models.compute.vram_budget * GB
        free = models.machine.free_bytes()
        limit = budget or (0 if free is None else free + models.held_bytes())
        sizes = [all_together(one.request, one.plan.work) for one in active if one.plan.work is not None]
        whole = all(one.request.compute.blocks_to_swap == 0 for one in active)
        models.keep = whole and max(sizes, default=0.0) <= limit
        if not models.keep:
            models.close()

    def _prepare(self, one: Active) -> Events:
        """Everything before the text: latents that are there already, the attention kernel, the VAE's colours."""
        request, saved = one.request, one.plan.saved
        if request.latent_path is not None:
            one.footage = load_footage(saved_origin_of(request.latent_path), request.fps, self._vae_of(one))
            one.latents = load_latents(request.latent_path)
            return
        one.footage = footage = load_footage(one.plan.extension.origin, request.fps, self._vae_of(one))
        if saved is not None:
            one.recorder.carry_on(saved)
            yield StateSaved(one.number, saved.path)
            for name, now in self.models.machine.notes().items():
                if saved.machine.get(name) != now:
                    refuse_difference(saved_origin(saved), name, saved.machine.get(name), now)
            if saved.finished:
                one.latents = one.shown(load_step(saved, "cpu").latents)
                return
        self._hold(one, footage)
        if one.latents is None:
            yield from self._choose_kernel(one)
        if request.output.preview and one.latents is None:
            yield StageBegan(one.number, Stage.PREPARE_PREVIEWS)
            with one.recorder.timed(Stage.PREPARE_PREVIEWS):
                one.colours = self.models.colours(one.plan.files)
        elif request.output.decodes:
            self.models.check_vae(one.plan.files)
        one.plan.files.watch.check()

    def _hold(self, one: Active, footage: Footage) -> None:
        """What the steps begin from: the noise, and the latents that are held; where all are, none is left to take."""
        with torch.inference_mode():
            one.noise = noise_of(one.request, one.plan.extension.origin)
            held = held_latents(footage, one.noise, one.request.sampling.hold_noise, self._vae_of(one))
        one.schedule = replace(one.schedule, held=held)
        if held is not None and held.fills(one.noise):
            one.latents = one.shown(held.finish(one.noise))
        self.models.release_vae()

    def _vae_of(self, one: Active) -> Callable[[], WanVAE]:
        return partial(self.models.vae, one.plan.files, one.request.compute.vae_cache_cpu)

    def _choose_kernel(self, one: Active) -> Events:
        machine, notes = self.models.machine, list[str]()
        if one.request.compute.compile:
            from wan2.models.compiled import check_compiler

            check_compiler(machine.device, fp8=one.plan.work is not None and holds_fp8(one.plan.work.held))
        with torch.inference_mode():
            kernel = choose_attention(one.plan, (one.job.attentions or attend_densely), machine, notes.append)
        yield from (Noted(one.number, note) for note in notes)
        if kernel.name != self.kernel:
            yield Settled(one.number, f"Attention kernel: {kernel.name}")
        self.kernel = kernel.name
        one.recorder.attention = kernel.name
        one.kernel = kernel

    def _encode(self, active: Sequence[Active]) -> Events:
        """The texts of every plan, each encoded once; those that were kept from earlier runs not at all."""
        todo = [one for one in active if one.latents is None]
        if not todo:
            return
        yield StageBegan(todo[0].number, Stage.ENCODE_TEXT)
        begin = time.perf_counter()
        contexts = self._contexts(todo[0].plan, [prompt for one in todo for prompt in one.plan.found.texts])
        passed = time.perf_counter() - begin
        yield from self._new_notes(todo[0])
        for one in todo:
            one.recorder.spend(Stage.ENCODE_TEXT, passed / len(todo))
        yield from each(todo, lambda one: self._condition(one, contexts))

    def _contexts(self, plan: Plan, prompts: Sequence[TokenizedPrompt]) -> dict[tuple[int, ...], Tensor]:
        """Token ids -> encoding [tokens, dim] on the device, in the compute dtype."""
        models, fp8 = self.models, plan.request.compute.fp8_t5
        encoder = plan.checkpoints["t5"]["fingerprint"]
        origin = {**models.machine.notes(), **versions(), "t5": encoder, "fp8": fp8}
        kept = KeptTexts(self.cache, origin)
        known = {prompt.ids: kept.get(prompt) for prompt in prompts}
        missing = list({prompt.ids: prompt for prompt in prompts if known[prompt.ids] is None}.values())
        with torch.inference_mode():
            if missing:
                for prompt, context in zip(missing, models.encode(missing, plan.files), strict=True):
                    kept.put(prompt, context)
                    known[prompt.ids] = context
                plan.files.watch.check()
                models.machine.release()
            machine = models.machine
            return {ids: c.to(machine.device, machine.dtype) for ids, c in known.items() if c is not None}

    def _condition(self, one: Active, contexts: dict[tuple[int, ...], Tensor]) -> Events:
        """The passes of a plan: each its text, padded with zeros, and its attentions."""
        saved = one.plan.saved
        with torch.inference_mode():
            texts = [contexts[prompt.ids] for prompt in one.plan.found.texts]
            padded = [nn.functional.pad(text, (0, 0, 0, TEXT_LENGTH - len(text))) for text in texts]
            one.text = hash_text(torch.stack(padded))
            if saved is not None and saved.text != one.text:
                refuse_difference(saved_origin(saved), "prompts encoded as", saved.text, one.text)
            if one.kernel is None:
                raise ValueError("no kernel was chosen")
            attentions = (one.job.attentions or attend_densely)(one.kernel)
            extra = one.job.extra_channels() if one.job.extra_channels else None
            one.passes = tuple(
                Conditioning(text[None], own.self_attn, own.cross_attn, extra)
                for text, own in zip(padded, attentions, strict=False)
            )
        yield from ()

    def _denoise(self, active: Sequence[Active]) -> Events:
        """All steps of much noise, plan by plan, then all later ones."""
        todo = [one for one in active if one.latents is None]
        if not todo:
            return
        for one in todo:
            one.keeper = one.held.enter_context(keep_state(one, self.models.machine, self.late))
            one.step = load_step(one.plan.saved, "cpu") if one.plan.saved is not None else self._given(one)
        counts = {noise: sum(len(one.steps(noise)) for one in todo) for noise in NOISES}
        steps = {noise: count for noise, count in counts.items() if count}
        files = dict[Noise, TransformerFile]()
        for note in todo[0].plan.found.notes:
            self.models.note(note)
        yield from self._checkpoints(todo[0], list(steps), files)
        if len(todo) == 1:
            yield StageBegan(todo[0].number, Stage.DENOISE, todo[0].schedule.infer_steps, todo[0].start)
        with self.models.experts(files, steps, _shared([one.request.compute for one in todo])) as opened:
            yield from self._new_notes(todo[0])
            for noise in steps:
                side = partial(self._side, noise=noise, opened=opened, alone=len(todo) == 1)
                yield from all_of([one for one in todo if not one.ended and one.steps(noise)], side)

    def _given(self, one: Active) -> DenoiseStep | None:
        """The last step before which every frame is held, so that nothing is to be computed."""
        with torch.inference_mode():
            return None if one.noise is None else given_steps(one.schedule, one.noise)

    def _new_notes(self, one: Active) -> Events:
        yield from (Noted(one.number, note) for note in self.models.new_notes())

    def _checkpoints(self, one: Active, noises: Sequence[Noise], files: dict[Noise, TransformerFile]) -> Events:
        """Find the files to load: those of the plan, or the fp8 weights that are kept of them."""
        experts = {noise: one.plan.found.experts[noise] for noise in noises}
        for found in self.models.kept_fp8(experts, one.plan.files, one.number):
            if isinstance(found, Event):
                yield found
            else:
                files |= [found]
                one.plan.files.watch.add(found[1].header.files)

    def _side(self, takers: Sequence[Active], noise: Noise, opened: OpenExpert, alone: bool) -> Events:
        """The steps of one expert, plan by plan."""
        with opened(noise) as model:
            yield from self._new_notes(takers[0])
            expert = Opened(noise, model, self.models.machine)
            yield from each(takers, lambda one: take_steps(one, expert, alone))


def _shared(computes: Sequence[Compute]) -> Compute:
    """How weights are streamed so that the largest of several plans fits; no result depends on it."""
    most = max(int(compute.blocks_to_swap) for compute in computes)
    apart = any(compute.passes_apart for compute in computes)
    return replace(computes[0], blocks_to_swap=most, passes_apart=apart)
