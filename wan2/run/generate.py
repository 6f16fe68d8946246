"""One run, as one sentence: encode the text, denoise the latents, decode them into the file. Prints nothing.

Every stage loads its model, uses it and lets it go before the next begins; the libraries that models are made of are
imported with the first that needs them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wan2.errors import RunError
from wan2.events import Progress, Silent
from wan2.models.conditioning import Conditioning, PlanAttentions, attend_densely
from wan2.plan.budget import within_budget, work_of
from wan2.plan.checks import check_run, input_files, naming, tokenize_prompts
from wan2.plan.marks import save_png
from wan2.plan.resume import check_resume, refuse_difference, saved_place
from wan2.plan.saved import SavedState, hash_text, load_step
from wan2.request.request import Options
from wan2.run.attention_choice import choose_attention
from wan2.run.claim import Claim
from wan2.run.keeper import keep_state, machine_notes
from wan2.run.latents import load_latents, save_latents
from wan2.run.machine import DTYPES, Machine, resolve_machine
from wan2.run.preview import fit_colours, preview_sheet
from wan2.run.record import Recorder, fingerprints
from wan2.run.sinks import open_main_sink
from wan2.run.transformers import experts, inspect_experts, keep_fp8, place_weights
from wan2.sampling.denoise import DenoisePlan, denoise, initial_noise
from wan2.shapes import SPACE_STRIDE
from wan2.weights.watch import Watch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wan2.models.vae import Tiles, WanVAE
    from wan2.run.sinks import OpenSinks
    from wan2.run.vae import VaeFile


@dataclass(frozen=True)
class Outputs:
    """The files a run left, the main thing first, and the latents: [1, 16, F, h, w], fp32 on the CPU."""

    written: tuple[Path, ...]
    latents: Tensor


@dataclass(frozen=True)
class Run:
    """What every stage of one run needs to know."""

    options: Options
    machine: Machine
    claim: Claim
    watch: Watch
    recorder: Recorder
    progress: Progress
    saved: SavedState | None

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[None]:
        """Announce a stage, time it, see that its files stayed what they were, and give its memory back."""
        self.progress.stage(name, total)
        with self.recorder.timed(name):
            yield
        self.watch.check()
        self.machine.release()


def generate(
    options: Options,
    claim: Claim,
    attentions: PlanAttentions = attend_densely,
    *,
    extra_channels: Tensor | None = None,
    scene: Mapping[str, Any] | None = None,
    open_sinks: OpenSinks | None = None,
    progress: Progress | None = None,
) -> Outputs:
    """Make the video that the options describe, or decode the latents they name.

    Args:
        options: the whole run.
        claim: the names of its files, held for it; see `outputs.claimed`.
        attentions: given the kernel of `--attn_mode`, the attentions of the passes with and without the prompt.
        extra_channels: latent channels [1, n, F, h, w] for transformers that take 16 + n.
        scene: what an extension adds to the record, as JSON values.
        open_sinks: opens what is told every decoded frame, besides the files of `--output_type`.
        progress: told the stages as they go.

    Raises:
        InputError: a file is absent, not what it should be, or the machine lacks what was asked for.
        RunError: values that are not finite, or a model file that changed meanwhile.
    """
    watch = Watch()
    watch.add(input_files(options))
    check_run(options, 0 if extra_channels is None else extra_channels.shape[1])
    if options.vram_budget:
        options = within_budget(options, work_of(options))
    saved = check_resume(options, scene or {})
    machine = resolve_machine(options)
    machine.start_measuring()
    recorder = Recorder(options, scene or {}, datetime.now(), fingerprints(options))
    run = Run(options, machine, claim, watch, recorder, progress or Silent(), saved)
    with torch.inference_mode():
        if options.latent_path is not None:
            latents = load_latents(options.latent_path)
        else:
            latents = _made(run, attentions, extra_channels)
        written = tuple(_written(run, latents, open_sinks))
    if options.latent_path is None:
        # Only now is everything in its place.
        for state in {claim.paths.state, options.resume or claim.paths.state}:
            state.unlink(missing_ok=True)
    return Outputs(written, latents)


def _made(run: Run, attentions: PlanAttentions, extra_channels: Tensor | None) -> Tensor:
    """Latents [1, 16, F, h, w] of the finished video, fp32 on the CPU: from noise, or from a saved state on."""
    saved = run.saved
    if saved is not None:
        run.recorder.seconds.update(saved.seconds)
        run.recorder.passes = saved.passes
        run.recorder.attention = saved.machine.get("attention")
        run.progress.kept(saved.path)
        for name, now in machine_notes(run.machine).items():
            if saved.machine.get(name) != now:
                refuse_difference(saved_place(saved), name, saved.machine.get(name), now)
        if saved.finished:
            return load_step(saved, "cpu").latents
    if run.options.compile:
        from wan2.models.compiled import check_compiler

        check_compiler(run.machine.device)
    kernel = choose_attention(run.options, run.machine, attentions, saved, run.progress)
    run.recorder.attention = kernel.name
    colours = _colours(run)
    contexts = _read(run)
    text = hash_text(contexts)
    if saved is not None and saved.text != text:
        refuse_difference(saved_place(saved), "prompts encoded as", saved.text, text)
    passes = [
        Conditioning(context, own.self_attn, own.cross_attn, extra_channels)
        for context, own in zip(contexts[:, None], attentions(kernel), strict=False)
    ]
    return _denoised(run, colours, text, *passes)


def _colours(run: Run) -> Tensor | None:
    """What turns latents into previews, if any are wanted; a VAE that will not do is refused here, not at the end."""
    if not run.options.preview:
        if run.options.decodes:
            _vae_file(run)
        return None
    with run.stage("Preparing previews"):
        return fit_colours(_vae(run))


def _vae(run: Run) -> WanVAE:
    from wan2.run.vae import load_vae

    options, machine = run.options, run.machine
    dtype = DTYPES.get(options.vae_dtype, machine.wide_dtype)
    return load_vae(_vae_file(run), machine.device, dtype, options.vae_cache_cpu)


def _vae_file(run: Run) -> VaeFile:
    from wan2.run.vae import inspect_vae

    with naming("vae"):
        return inspect_vae(run.options.files.vae)


def _read(run: Run) -> Tensor:
    """The contexts [n, 512, text_dim] of the prompt and, when any pass is guided, of the negative prompt."""
    options, machine = run.options, run.machine
    with run.stage("Reading the text"):
        from wan2.run.text_encoder import encode, load_text_encoder

        with naming("t5"):
            encoder = load_text_encoder(options.files.t5, machine.device, machine.wide_dtype, options.fp8_t5)
        contexts = encode(encoder, *tokenize_prompts(options)).to(machine.dtype)
        del encoder
    return contexts


def _denoised(
    run: Run, colours: Tensor | None, text: str, positive: Conditioning, negative: Conditioning | None = None
) -> Tensor:
    """Latents [1, 16, F, h, w] of the finished video, fp32 on the CPU."""
    options, machine = run.options, run.machine
    plan = DenoisePlan(
        infer_steps=options.infer_steps,
        shift=options.flow_shift,
        solver=options.sample_solver,
        boundary=options.dual_dit_boundary,
        guidance_scale_high_noise=options.guidance_scale_high_noise,
        guidance_scale=options.guidance_scale,
        round_timestep=options.round_timestep,
        cfg_skip=options.cfg_skip,
        step_cache=options.step_cache,
    )
    latents = initial_noise((1, *options.shape.latent), options.seed).to(machine.device)
    after = load_step(run.saved, machine.device) if run.saved else None
    start = 0 if after is None else after.index + 1
    steps_taken = plan.expert_steps(start)
    files = inspect_experts(options, steps_taken)
    if options.fp8_cache:
        files = keep_fp8(files, run.progress)
        run.watch.add(shard for file in files.values() for shard in file.header.files)
    with (
        run.stage("Denoising", options.infer_steps),
        keep_state(run, text) as keeper,
        run.progress.stepwise() as stopping,
        experts(files, steps_taken, place_weights(options, machine, files), machine, options.compile) as open_expert,
        closing(denoise(open_expert, latents, plan, positive, negative, after)) as steps,
    ):
        if start:
            run.progress.advance(start)
        for step in steps:
            latents = step.latents
            run.watch.check()  # before the step counts: with other weights it would be neither old nor new
            run.recorder.passes += step.passes
            keeper.took(step)
            if colours is not None and (step.index + 1) % options.preview == 0:
                with run.claim.whole(run.claim.paths.preview) as part:
                    save_png(preview_sheet(latents, colours), part)
            keeper.save_when_due(step)  # after its preview, which a run that goes on from here does not make again
            run.progress.advance()
            if stopping():
                raise KeyboardInterrupt
    return latents.cpu()


def _written(run: Run, latents: Tensor, open_sinks: OpenSinks | None) -> Iterator[Path]:
    """Write what `--output_type` asks for, and the record; the paths, the main thing first."""
    options, paths, recorder, whole = run.options, run.claim.paths, run.recorder, run.claim.whole
    if options.writes_latents:
        # Kept before decoding begins: should that fail, the long part of the work is not lost.
        record = None if options.no_metadata else recorder.so_far()
        save_latents(paths.latents, latents, options.fps, record, whole)
    if options.decodes:
        yield _decoded(run, latents, open_sinks)
    if options.writes_latents:
        yield paths.latents
    if not options.no_metadata:
        recorder.write(paths.record, run.machine.as_record(), whole)
        yield paths.record


def _decoded(run: Run, latents: Tensor, open_sinks: OpenSinks | None) -> Path:
    """Decode frame after frame straight into the video or the folder of stills, and into the sinks."""
    options, claim = run.options, run.claim
    record = {} if options.no_metadata else {"comment": json.dumps(run.recorder.so_far(), ensure_ascii=False)}
    with run.stage("Decoding", options.shape.num_frames), ExitStack() as stack:
        # Opened first, closed last: whatever becomes of them, the video itself is in its place by then.
        sinks = stack.enter_context(open_sinks(claim)) if open_sinks else ()
        write = stack.enter_context(open_main_sink(options, claim, record))
        for index, frame in enumerate(_frames(run, latents)):
            for sink in (write, *sinks):
                sink(index, frame)
            run.progress.advance()
        run.watch.check()
    return claim.paths.main(options)


def _frames(run: Run, latents: Tensor) -> Iterator[NDArray[np.uint8]]:
    """The frames, uint8 [H, W, 3], a latent frame at a time: memory does not grow with the length of the video."""
    from wan2.models.vae import to_uint8

    for chunk in _vae(run).decode_chunks(latents, _tiles(run.options)):
        if not torch.isfinite(chunk).all():
            raise RunError("decoding gave values that are not finite; try --dtype float32")
        yield from to_uint8(chunk).numpy()


def _tiles(options: Options) -> Tiles | None:
    """The tiles of `--vae_tiling`; neighbours share half. A side of 0 is that of the video."""
    if not (options.tile_height or options.tile_width):
        return None
    from wan2.models.vae import Tiles

    rows = (options.tile_height or options.height) // SPACE_STRIDE
    columns = (options.tile_width or options.width) // SPACE_STRIDE
    return Tiles((rows, columns), (rows // 2, columns // 2))
