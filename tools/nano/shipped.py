"""Weights to begin a training from: of a state, or of a shipped file, which is the same rounded to bf16."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from tools.nano.state import load_model
from tools.nano.train_text import TextEncoder
from wan2.models.transformer import WanTransformer
from wan2.weights.text_names import to_transformers

SHIPPED = ".safetensors"


def load_expert(path: Path, model: WanTransformer) -> None:
    """The weights of a transformer."""
    if path.suffix == SHIPPED:
        model.load_state_dict(load_file(path))
    else:
        load_model(path, model)


def load_text(path: Path, model: TextEncoder) -> None:
    """The weights of the text encoder. A shipped file has no readouts, which stay as they are."""
    if path.suffix == SHIPPED:
        with torch.no_grad():
            for name, tensor in load_file(path).items():
                model.text.get_parameter(to_transformers(name)).copy_(tensor)
    else:
        load_model(path, model)
