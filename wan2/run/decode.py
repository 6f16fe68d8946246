"""From finished latents to files: decoded frame after frame into every sink, then the record."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from wan2.errors import RunError
from wan2.events import Event, FileWritten, Finished, FramesDecoded, Stage, StageBegan
from wan2.request.compute import Compute
from wan2.request.request import Request
from wan2.run.footage import decode_all
from wan2.run.job import Active
from wan2.run.latents import save_latents
from wan2.run.models import Models
from wan2.run.sinks import open_main_sink
from wan2.shapes import SPACE_STRIDE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wan2.models.vae import Tiles, WanVAE


def finish(one: Active, models: Models) -> Generator[Event]:
    """Write everything that a plan asks for; only then its state goes.

    Raises:
        RunError: values that are not finite, or a model file that changed meanwhile.
    """
    output, paths, whole = one.request.output, one.claim.paths, one.claim.whole
    if one.latents is None or one.footage is None:
        raise ValueError("the plan has no latents yet")
    one.footage = one.footage.beside(one.latents)
    if one.request.keeps_latents:
        # Kept before decoding begins: should that fail, the long part of the work is not lost.
        record = None if output.no_metadata else one.recorder.so_far()
        save_latents(paths.latents, one.latents, one.request.fps, record, whole, one.footage)
        yield FileWritten(one.number, paths.latents)
    if output.decodes:
        yield from _decode(one, models.vae(one.plan.files, one.request.compute.vae_cache_cpu))
        yield FileWritten(one.number, paths.main(one.request))
        yield from (FileWritten(one.number, target.path) for target in one.plan.extension.also(paths))
    if not output.no_metadata:
        one.recorder.write(paths.record, models.machine.as_record(), whole)
        yield FileWritten(one.number, paths.record)
    if one.request.latent_path is None:
        # Only now is everything in its place.
        for state in {paths.state, one.request.resume or paths.state}:
            state.unlink(missing_ok=True)
    latents = one.latents
    files = tuple(_written(one))
    one.end()
    yield Finished(one.number, files, latents)


def _written(one: Active) -> Iterator[Path]:
    """The files of a plan, the main one first."""
    main = one.claim.paths.main(one.request)
    yield main
    for what, path, _ in one.claim.targets:
        if what not in ("state", "preview") and path != main and os.path.lexists(path):
            yield path


def _decode(one: Active, vae: WanVAE) -> Generator[Event]:
    """Decode a latent frame at a time: memory does not grow with the length of the video."""
    from wan2.models.vae import to_uint8

    request = one.request
    record = {} if request.output.no_metadata else {"comment": json.dumps(one.recorder.so_far(), ensure_ascii=False)}
    yield StageBegan(one.number, Stage.DECODE, one.plan.shape.num_frames)
    with one.recorder.timed(Stage.DECODE), ExitStack() as stack:
        # Opened first, closed last: whatever becomes of them, the video itself is in its place by then.
        sinks = stack.enter_context(one.job.open_sinks(one.claim)) if one.job.open_sinks else ()
        chapters = one.plan.extension.chapters
        write = stack.enter_context(open_main_sink(request, one.claim, record, chapters))
        first = 0
        for chunk in _chunks(one, vae):
            frames: NDArray[np.uint8] = to_uint8(chunk).numpy()
            for index, frame in enumerate(frames, first):
                for sink in (write, *sinks):
                    sink(index, frame)
            yield FramesDecoded(one.number, first, frames)
            first += len(frames)
        one.plan.files.watch.check()


def _chunks(one: Active, vae: WanVAE) -> Iterator[torch.Tensor]:
    if one.latents is None or one.footage is None:
        raise ValueError("the plan has no latents yet")
    tiles = tiles_of(one.request)
    with torch.inference_mode():
        chunks = decode_all(one.latents, one.footage, lambda latents: vae.decode_chunks(latents, tiles))
    while True:
        with torch.inference_mode():
            chunk = next(chunks, None)
            if chunk is None:
                return
            if not torch.isfinite(chunk).all():
                raise RunError("decoding gave values that are not finite; the latents or the VAE's file are damaged")
        yield chunk


def tiles_of(request: Request) -> Tiles | None:
    """The tiles that were asked for; neighbours share half. A side of 0 is that of the video."""
    compute: Compute = request.compute
    if not (compute.tile_height or compute.tile_width):
        return None
    from wan2.models.vae import Tiles

    rows = (compute.tile_height or request.height) // SPACE_STRIDE
    columns = (compute.tile_width or request.width) // SPACE_STRIDE
    return Tiles((rows, columns), (rows // 2, columns // 2))
