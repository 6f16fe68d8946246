"""Pictures and captions compared through a model of the user's choice, for videos whose facts nobody can read off.

Any image model of transformers will do; one that also reads text (CLIP, SigLIP) tells how well captions fit as well.
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
"""Frames of a shot that are looked at, evenly spread, the first and the last among them."""
REFERENCE = re.compile(r"\[character\d+\]", re.IGNORECASE)


class Embedder:
    """A model of transformers that turns pictures, and captions if it can, into directions.

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
            raise InputError(f"--embed_model {name}: this {kind} cannot be loaded ({error})") from error

    def pictures(self, frames: Frames) -> Tensor:
        """uint8 [N, h, w, 3] -> directions [N, D] of length 1."""
        inputs = self.processor(images=list(frames), return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            see = self.model.get_image_features if self.reads else self.model
            return _directions(see(pixel_values=inputs["pixel_values"]))

    def captions(self, texts: Sequence[str]) -> Tensor:
        """Texts -> directions [N, D] of length 1, in the space of the pictures; long ones are cut to what fits."""
        if self.tokenizer is None:
            raise ValueError("this model reads no text")
        inputs = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            return _directions(self.model.get_text_features(**inputs))


def _directions(output: Any) -> Tensor:  # noqa: ANN401
    """The one vector a picture or text that a model's output holds, made length 1, float32 on the CPU."""
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
    told = embedder.captions(captions) if embedder.reads else None
    return {
        "caption": None if told is None else float((means * told).sum(1).mean()),
        "inter_shot": _mean([float(means[a] @ means[b]) for a, b in related(captions)]),
        "intra_first": _mean([float(v[0] @ other) for v in seen for other in v[1:]]),
        "intra_frames": _mean([float(a @ b) for v in seen for a, b in pairwise(v)]),
    }


def related(captions: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of shots in which the same character appears, as far as the captions tell."""
    cast = [{name.lower() for name in REFERENCE.findall(caption)} for caption in captions]
    everyone = not any(cast)
    return [(a, b) for a, b in combinations(range(len(cast)), 2) if everyone or cast[a] & cast[b]]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
