"""Write the trained networks as checkpoints of the real files' formats and names, in bf16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tools.nano.state import load_model
from tools.nano.tokenizer import fit_tokenizer, save_tokenizer
from tools.nano.train_dit import CONFIG, new_model
from tools.nano.train_vae import new_vae
from wan2.models.text_encoder import to_transformers
from wan2.presets import ModelFiles

LAYER = (
    "norm1", "norm2", "attn.q", "attn.k", "attn.v", "attn.o", "pos_embedding.embedding",
    "ffn.gate.0", "ffn.fc1", "ffn.fc2",
)  # fmt: skip


def export_vae(state: Path, path: Path) -> None:
    """Write the VAE under the names of `Wan2.1_VAE.pth`."""
    vae = new_vae()
    load_model(state, vae)
    save_bf16(dict(vae.export()), path, {})


def export_text(state: Path, files: ModelFiles) -> None:
    """Write the tokenizer, and the text encoder under the names of `models_t5_umt5-xxl-enc-bf16.pth`."""
    tokenizer = fit_tokenizer()
    save_tokenizer(tokenizer, files.tokenizer)
    model = new_model(tokenizer)
    load_model(state, model)
    tensors = model.text.state_dict()
    layers = range(model.text.config.num_layers)
    names = ["token_embedding.weight", "norm.weight"]
    names += [f"blocks.{i}.{name}.weight" for i in layers for name in LAYER]
    save_bf16({name: tensors[to_transformers(name)] for name in names}, files.t5, {})


def export_expert(state: Path, path: Path, variant: str) -> None:
    """Write one expert; the header says its variant and its number of heads, which no shape shows."""
    model = new_model(fit_tokenizer()).video
    load_model(state, model)
    save_bf16(model.state_dict(), path, {"variant": variant, "num_heads": str(CONFIG.num_heads)})


def save_bf16(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write tensors rounded to bf16 as safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}, path, metadata)
