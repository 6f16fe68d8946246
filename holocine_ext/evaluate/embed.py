"""Compares pictures and captions through an image model that the user names, for videos other than nano's.

Any image model of the transformers library works; one that also reads text (CLIP, SigLIP) measures captions as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from holocine_ext.evaluate.clip import Frames
from holocine_ext.pictures.sheet import pick_frames
from holocine_ext.shots.layout import Range
from wan2.errors import InputError

LOOKS = 8
"""Frames of a shot that are embedded: evenly spread, with the first and the last."""
REFERENCE = re.compile(r"\[character\d+\]", re.IGNORECASE)


class Embedder:
    """A model that turns pictures, and captions if it reads text, into vectors of length 1.

    Args:
        name: a folder, or the id of a model on the hub.
        device: where it computes.

    Raises:
        InputError: it cannot be loaded.
    """

    def __init__(self, name: str, device: str) -> None:
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        try:
            self.model = AutoModel.from_pretrained(name).eval().to(device)
            self.processor = AutoImageProcessor.from_pretrained(name)
            self.reads = hasattr(self.model, "get_text_features")
            self.tokenizer = AutoTokenizer.from_pretrained(name) if self.reads else None
        except (OSError, ValueError) as error:
            kind = "folder" if Path(name).is_dir() else "model"
            raise InputError(f"`embed_model` {name}: this {kind} cannot be loaded ({error})") from error

    def pictures(self, frames: Frames) -> Tensor:
        """uint8 [N, h, w, 3] -> vectors [N, D] of length 1."""
        inputs = self.processor(images=list(frames), return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            see = self.model.get_image_features if self.reads else self.model
            return _unit_vectors(see(pixel_values=inputs["pixel_values"]))

    def captions(self, texts: Sequence[str]) -> Tensor:
        """Texts -> vectors [N, D] of length 1, comparable with those of pictures; long texts are truncated."""
        if self.tokenizer is None:
            raise ValueError("this model reads no text")
        inputs = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            return _unit_vectors(self.model.get_text_features(**inputs))


def _unit_vectors(output: Any) -> Tensor:  # noqa: ANN401
    """One vector for each picture or text from a model's output, scaled to length 1, float32 on the CPU."""
    vectors = output if isinstance(output, Tensor) else output.pooler_output
    if vectors is None:
        vectors = output.last_hidden_state[:, 0]
    return functional.normalize(vectors.float().cpu(), dim=-1)


def measure(
    embedder: Embedder, frames: Frames, shots: Sequence[Range], captions: Sequence[str]
) -> dict[str, float | None]:
    """Cosines of one video, uint8 [T, h, w, 3], whose shots lie at half-open ranges; None where there is no pair.

    `inter_shot`: mean pictures of two shots that name the same character (any two, when no caption names one).
    `intra_first` and `intra_frames`: frames of a shot, with its first and with the one before. `caption`: a shot's mean
    picture and its caption.
    """
    seen = [embedder.pictures(frames[list(pick_frames(shot, LOOKS))]) for shot in shots]
    means = functional.normalize(torch.stack([vectors.mean(0) for vectors in seen]), dim=-1)
    texts = embedder.captions(captions) if embedder.reads else None
    return {
        "caption": None if texts is None else float((means * texts).sum(1).mean()),
        "inter_shot": _mean([float(means[a] @ means[b]) for a, b in related(captions)]),
        "intra_first": _mean([float(v[0] @ other) for v in seen for other in v[1:]]),
        "intra_frames": _mean([float(a @ b) for v in seen for a, b in pairwise(v)]),
    }


def related(captions: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of shots whose captions name the same character; all pairs if no caption names one."""
    cast = [{name.lower() for name in REFERENCE.findall(caption)} for caption in captions]
    everyone = not any(cast)
    return [(a, b) for a, b in combinations(range(len(cast)), 2) if everyone or cast[a] & cast[b]]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
