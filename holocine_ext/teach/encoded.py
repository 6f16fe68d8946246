"""Clips as the transformer learns them: latents and texts, encoded once and kept by content; samples of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from holocine_ext.shots.conditioning import plan_attentions
from holocine_ext.teach.data import Example
from holocine_ext.teach.pieces import pieces_of
from wan2.models.conditioning import Conditioning, dense_attention
from wan2.plan.files import Files
from wan2.plan.provenance import versions
from wan2.request.request import NEGATIVE_PROMPT
from wan2.run.video_io import read_video
from wan2.sampling.denoise import initial_noise
from wan2.sampling.schedule import TRAIN_TIMESTEPS
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt
from wan2.training.flow import noised
from wan2.training.kept import KeptTensors
from wan2.training.step import Sample

if TYPE_CHECKING:
    from wan2.run.machine import Machine
    from wan2.run.models import Models

FOLDER = "kept"
DROPPED = ("", NEGATIVE_PROMPT)
"""What takes the place of a prompt that is dropped; guidance leads away from it."""


@dataclass(frozen=True)
class Draw:
    """What chance decides of a sample: noise level, seed of the noise, what stands in for the prompt, if anything."""

    sigma: float
    noise: int
    dropped: str | None = None


class Encoded:
    """Clips, encoded. See `encode`."""

    def __init__(
        self, latents: KeptTensors, texts: KeptTensors, machine: Machine, files: Files, tokenizer: Path
    ) -> None:
        self._latents, self._texts, self._machine = latents, texts, machine
        self._tokens = {text: files.tokenize(tokenizer, text) for text in DROPPED}
        self._contents: dict[str, str] = {}

    def encode(self, examples: Sequence[Example], models: Models, files: Files, advance: Callable[[], None]) -> None:
        """Encode what is not there yet. Raises `InputError` when a model or a video cannot be read."""
        self._contents = {example.name: example.content() for example in examples}
        for example in examples:
            if not self._latents.has(self._contents[example.name]):
                self._latents.put(self._contents[example.name], _latents_of(example, models, files))
            advance()
        models.release_vae()
        prompts = {_ids(p): p for p in (*(e.prompt for e in examples), *self._tokens.values())}
        missing = [prompt for ids, prompt in prompts.items() if not self._texts.has(ids)]
        if missing:
            with torch.inference_mode():
                for prompt, context in zip(missing, models.encode(missing, files), strict=True):
                    self._texts.put(_ids(prompt), context)
        models.machine.release()

    def contents(self, examples: Iterable[Example]) -> dict[str, str]:
        """Hashes of the videos, by name."""
        return {example.name: self._contents[example.name] for example in examples}

    def sample(self, example: Example, draw: Draw, sparse: bool, round_timestep: bool) -> Sample:
        """A clip at a noise level, on the device."""
        device, dtype = self._machine.device, self._machine.dtype
        latents = self._latents.get(self._contents[example.name])
        noisy, velocity = noised(latents, initial_noise(tuple(latents.shape), draw.noise), draw.sigma)
        prompt = example.prompt if draw.dropped is None else self._tokens[draw.dropped]
        ranges = example.key_ranges if draw.dropped is None else None
        (own, _) = plan_attentions(example.layout, ranges, sparse, dense_attention)
        timestep = torch.tensor(TRAIN_TIMESTEPS * draw.sigma)
        return Sample(
            noisy.to(device),
            velocity.to(device),
            timestep.to(dtype).float() if round_timestep else timestep,
            Conditioning(self._context(prompt), own.self_attn, own.cross_attn),
            pieces_of(example.layout, ranges, sparse),
        )

    def _context(self, prompt: TokenizedPrompt) -> Tensor:
        """The encoding of a prompt, [1, 512, dim], zero after the last token."""
        context = self._texts.get(_ids(prompt))
        padded = nn.functional.pad(context, (0, 0, 0, TEXT_LENGTH - len(context)))
        return padded[None].to(self._machine.device, self._machine.dtype)


def open_encoded(folder: Path, models: Models, files: Files) -> Encoded:
    """What is kept of the clips of a folder, for these models on this machine."""
    origin = {**models.machine.notes(), **versions()}
    prints = {name: files.fingerprint(files.parts(name, path)) for name, path in _sources(models).items()}
    latents = KeptTensors(folder / FOLDER / "latents", {**origin, "vae": prints["vae"]["fingerprint"]})
    fp8 = models.compute.fp8_t5
    texts = KeptTensors(folder / FOLDER / "texts", {**origin, "t5": prints["t5"]["fingerprint"], "fp8": fp8})
    return Encoded(latents, texts, models.machine, files, models.model.tokenizer)


def _sources(models: Models) -> dict[str, Path]:
    return {"vae": models.model.vae, "t5": models.model.t5}


def _latents_of(example: Example, models: Models, files: Files) -> Tensor:
    """The latents [1, 16, F, h, w] of a clip, fp32."""
    frames = torch.from_numpy(read_video(example.video)).permute(3, 0, 1, 2)[None]
    return models.vae(files, cache_on_host=False).encode(frames.float() / 127.5 - 1)


def _ids(prompt: TokenizedPrompt) -> str:
    return str(list(prompt.ids))


def draws(rng: Random, levels: Sequence[float], dropout: float) -> list[Draw]:
    """What chance decides of each sample of a batch, given their noise levels."""
    return [
        Draw(sigma, rng.getrandbits(48), rng.choice(DROPPED) if rng.random() < dropout else None) for sigma in levels
    ]
