"""Does what is forecast survive on a card? `python -m benchmarks.replay`: every stage through a model of the allocator.

The real code runs on tensors without memory (`benchmarks.fake_card`), and its allocations are replayed
(`benchmarks.allocator`): the least memory with which they survive, gaps and CUDA's own share included, beside what is
forecast. Then cards: what `--vram_budget` chooses for what a display leaves, and whether the choice survives. What CUDA
takes is assumed, not measured. Attention is that of a fused kernel, which needs no memory but its result; convolutions
are counted without the workspace that cuDNN may take.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKLWan
from transformers import UMT5EncoderModel

from benchmarks.allocator import least
from benchmarks.fake_card.card import fake_card
from benchmarks.fake_card.forwards import CUDA, Forward, put_on_card
from benchmarks.fake_card.notes import Memory
from benchmarks.memory import UMT5
from benchmarks.table import columns
from holocine_ext.presets import MODELS
from holocine_ext.shots.flops import attended
from wan2.cli.flags import spelled
from wan2.errors import InputError
from wan2.models.config import A14B
from wan2.models.forms import as_fp8
from wan2.models.vae import WanVAE, channels_last, upsample_in_place_of_fp32
from wan2.plan.budget import Work, chosen, device_bytes, within_budget
from wan2.plan.memory import CUDA_CONTEXT, CUDA_WORKSPACES, VAE_WEIGHTS
from wan2.request.flat import make_request
from wan2.request.request import Request
from wan2.shapes import SPACE_STRIDE
from wan2.streaming.layout import block_layout
from wan2.streaming.residency import ENCODER_RING_BYTES, RING_BLOCKS, spread
from wan2.streaming.text_layers import LayerFile
from wan2.text.tokenizer import TEXT_LENGTH
from wan2.weights.fp8 import quantised
from wan2.weights.held import in_block

GB, GIB = 1e9, 2**30
OF_CUDA = CUDA_CONTEXT + CUDA_WORKSPACES
# Taken by a display, GB.
DISPLAY = 0.5
CARDS = (6, 8, 12, 16, 24)
SETTINGS = ("blocks_to_swap", "passes_apart", "vae_cache_cpu")
# How far a forecast may be above the least that survives.
ALLOWED = 1.1


@dataclass(frozen=True)
class Scene:
    """A video: variant, frames, shots, pixels, and further settings by name."""

    name: str
    sparse: bool
    frames: int
    shots: int
    size: tuple[int, int] = (480, 832)
    settings: tuple[tuple[str, Any], ...] = ()

    def request(self, **more: Any) -> Request:  # noqa: ANN401
        """What is asked for, all blocks streamed unless something else is."""
        height, width = self.size
        values = {"prompt": "-", "num_frames": self.frames, "height": height, "width": width, "device": "cuda"}
        return make_request(MODELS["holocine"]["full"], {**values, **dict(self.settings), **more})

    def work(self, request: Request) -> Work:
        """What decides its memory."""
        held = as_fp8(quantised(A14B)) if request.compute.quantises else {}
        return Work(A14B, held, attended(self.forward(request).layout, self.sparse))

    def forward(self, request: Request) -> Forward:
        """A step of it."""
        compute, (height, width) = request.compute, self.size
        size = (height // SPACE_STRIDE, width // SPACE_STRIDE)
        fp8 = "fast" if compute.fp8_fast else "scaled" if compute.quantises else ""
        together = bool(compute.blocks_to_swap) and not compute.passes_apart
        return Forward(self.sparse, self.frames, self.shots, size, fp8, 2, together, fused=True)


SCENES = (
    Scene("241 frames, 480x832, full, 6 shots", False, 241, 6),
    Scene("241 frames, 480x832, sparse, 6 shots", True, 241, 6),
    Scene("241 frames, 480x832, sparse, 13 shots", True, 241, 13),
    Scene("241 frames, 480x832, sparse, 6 shots, fp8_scaled", True, 241, 6, settings=(("fp8_scaled", True),)),
    Scene("241 frames, 480x832, sparse, 6 shots, fp8_fast", True, 241, 6, settings=(("fp8_fast", True),)),
    Scene("81 frames, 720x1280, full", False, 81, 1, (720, 1280)),
    Scene("241 frames, 480x832, full, 6 shots, fp8_scaled", False, 241, 6, settings=(("fp8_scaled", True),)),
)
ON_CARDS = (SCENES[0], SCENES[6], SCENES[2], SCENES[5])
DECODERS: dict[str, dict[str, Any]] = {
    "VAE, whole": {},
    "VAE, vae_cache_cpu": {"vae_cache_cpu": True},
    "VAE, tiles of 240x416": {"tile_height": 240, "tile_width": 416},
    "VAE, tiles of 240x416, vae_cache_cpu": {"tile_height": 240, "tile_width": 416, "vae_cache_cpu": True},
}


class Stage(NamedTuple):
    """A stage: what is forecast, and the least that survives, CUDA's share in both."""

    name: str
    forecast: float
    least: int

    @property
    def row(self) -> list[str]:
        """Its line."""
        ratio = self.forecast / self.least
        verdict = "" if 1 <= ratio <= ALLOWED else "OFF"
        return [self.name, *(f"{size / GB:.2f}" for size in (self.forecast, self.least)), f"{ratio:.3f}", verdict]


def transformer(scene: Scene, request: Request) -> Stage:
    """One expert at a step."""
    streamed = int(request.compute.blocks_to_swap)
    before = weights(scene.work(request), streamed, request.compute.fast)
    survives = least(step(scene.forward(request)), before) + OF_CUDA
    return Stage("transformer", device_bytes(request, scene.work(request), "transformer"), survives)


@cache
def step(forward: Forward) -> tuple[Memory, ...]:
    """The allocations of a step."""
    with fake_card() as notes:
        model = forward.model()
        notes.restart()
        forward.run(model)
        return tuple(notes.memory)


def weights(work: Work, streamed: int, fast: frozenset[str]) -> list[int]:
    """Sizes of what lies on the card throughout: the ring, and every tensor that is not streamed."""
    waiting = set(spread(streamed, A14B.num_layers))
    layouts = [
        block_layout(A14B, torch.bfloat16, frozenset(in_block(n, work.held).items()), fast)
        for n in range(A14B.num_layers)
    ]
    ring = [max(layouts[n].nbytes for n in waiting)] * RING_BLOCKS if waiting else []
    held = [part.nbytes for n, layout in enumerate(layouts) if n not in waiting for part in layout.parts]
    shapes = A14B.tensor_shapes().items()
    return ring + held + [2 * math.prod(shape) for name, shape in shapes if not name.startswith("blocks.")]


def decoder(request: Request) -> Stage:
    """The VAE at work on a tile."""
    compute = request.compute
    rows, columns = (compute.tile_height or request.height), (compute.tile_width or request.width)
    log = decoding(rows // SPACE_STRIDE, columns // SPACE_STRIDE, compute.vae_cache_cpu)
    return Stage("VAE", device_bytes(request, Work(A14B), "vae"), least(log, [2 * VAE_WEIGHTS]) + OF_CUDA)


@cache
def decoding(rows: int, columns: int, cache_on_host: bool) -> tuple[Memory, ...]:
    """The allocations of three latent frames that are decoded."""
    with torch.device("meta"):
        model = AutoencoderKLWan()
    upsample_in_place_of_fp32(model)
    with fake_card() as notes, torch.inference_mode():
        put_on_card(model)
        channels_last(model)
        vae = WanVAE(model, cache_on_host)
        notes.restart()
        for chunk in vae.decode_chunks(torch.empty(1, 16, 3, rows, columns)):
            torch.isfinite(chunk).all()
        return tuple(notes.memory)


def text_encoder(request: Request) -> Stage:
    """The ring of the text encoder, and a layer at work on the longest text."""
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5)
    layer = model.encoder.block[0]
    size = LayerFile(Path(), {}, {"": layer}, torch.bfloat16).layouts[0].nbytes
    slots = RING_BLOCKS if RING_BLOCKS * size <= ENCODER_RING_BYTES else 1
    with fake_card() as notes, torch.inference_mode():
        put_on_card(layer)
        notes.restart()
        layer(torch.empty(1, TEXT_LENGTH, UMT5.d_model, dtype=torch.bfloat16, device=CUDA))
        log = tuple(notes.memory)
    return Stage(
        "text encoder", device_bytes(request, Work(A14B), "text_encoder"), least(log, [size] * slots) + OF_CUDA
    )


def stages() -> list[list[str]]:
    """A line a stage: the transformer with every block streamed, passes together and apart."""
    rows = [["GB", "forecast", "least that survives", "ratio", ""]]
    for scene in SCENES:
        for apart in (False, True):
            found = transformer(scene, scene.request(blocks_to_swap=A14B.num_layers, passes_apart=apart))
            how = "passes apart" if apart else "passes together"
            rows.append(found._replace(name=f"{scene.name}, {how}").row)
    for size in ((480, 832), (720, 1280)):
        scene = Scene("", False, 81, 1, size)
        for name, settings in DECODERS.items():
            rows.append(decoder(scene.request(**settings))._replace(name=f"{size[0]}x{size[1]}, {name}").row)
    return [*rows, text_encoder(SCENES[0].request()).row]


def on_card(card: int, scene: Scene) -> list[str]:
    """What is chosen for a card, and whether it survives."""
    left = card * GIB / GB - DISPLAY
    budget = min(card, math.floor(10 * left) / 10)
    asked = scene.request(vram_budget=budget)
    try:
        made = within_budget(asked, scene.work(asked))
    except InputError as error:
        return [f"{card} GB, {scene.name}", f"{budget:g}", "", f"{left:.2f}", "refused", _words(error.rule)]
    found = [text_encoder(made), transformer(scene, made), decoder(made)]
    most = max(stage.least for stage in found) / GB
    verdict = "survives" if most <= left else "DIES"
    return [
        f"{card} GB, {scene.name}",
        f"{budget:g}",
        f"{most:.2f}",
        f"{left:.2f}",
        verdict,
        _words(chosen(asked, made)),
    ]


def _words(text: str) -> str:
    return spelled(text, SETTINGS)


def cards(scenes: Sequence[Scene] = ON_CARDS) -> list[list[str]]:
    """A line a card and scene."""
    rows = [["card, scene", "--vram_budget", "least, GB", "left, GB", "", "chosen"]]
    return rows + [on_card(card, scene) for scene in scenes for card in CARDS]


def main() -> int:
    """Replay, and print both tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.replay", description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    of_stages, on_cards = stages(), cards()
    sys.stdout.write(
        "$ python -m benchmarks.replay\nreplayed through a model of the allocator; nothing was measured\n\n"
        + columns(of_stages)
        + f"\nCUDA takes {OF_CUDA / GB:g} GB (assumed). A card of N GB has N GiB; a display takes {DISPLAY:g} GB.\n\n"
        + columns(on_cards)
    )
    return int(any({"OFF", "DIES"} & set(row) for row in of_stages + on_cards))


if __name__ == "__main__":
    sys.exit(main())
