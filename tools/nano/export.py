"""Write the trained networks under the real files' names and in their formats: bf16, and fp8 where it costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tools.nano.state import load_model
from tools.nano.tokenizer import fit_tokenizer, save_tokenizer
from tools.nano.train_dit import CONFIG, new_transformer
from tools.nano.train_text import new_text_encoder
from tools.nano.train_vae import new_vae
from wan2.request.model import Model
from wan2.weights.text_names import to_transformers

LAYER = (
    "norm1", "norm2", "attn.q", "attn.k", "attn.v", "attn.o", "pos_embedding.embedding",
    "ffn.gate.0", "ffn.fc1", "ffn.fc2",
)  # fmt: skip


def export_vae(state: Path, path: Path) -> None:
    """Write the VAE under the names of `Wan2.1_VAE.pth`.

    The encoder's 3x3x3 convolutions are stored as scaled fp8: text to video never runs them, and the saved megabyte
    keeps the miniature small.
    """
    vae = new_vae()
    load_model(state, vae)
    tensors = dict(vae.export())
    for name, tensor in list(tensors.items()):
        if name.startswith("encoder.") and tensor.dim() == 5 and tensor.shape[-1] == 3:
            scale = tensor.flatten(1).abs().amax(dim=1) / torch.finfo(torch.float8_e4m3fn).max
            tensors[name] = (tensor / scale.view(-1, 1, 1, 1, 1)).to(torch.float8_e4m3fn)
            tensors[name.removesuffix(".weight") + ".scale_weight"] = scale
    save(tensors, path, {})


def export_text(state: Path, shipped: Model) -> None:
    """Write the tokenizer, and the text encoder under the names of `models_t5_umt5-xxl-enc-bf16.pth`."""
    tokenizer = fit_tokenizer()
    save_tokenizer(tokenizer, shipped.tokenizer)
    model = new_text_encoder(tokenizer)
    load_model(state, model)
    tensors = model.text.state_dict()
    layers = range(model.text.config.num_layers)
    names = ["token_embedding.weight", "norm.weight"]
    names += [f"blocks.{i}.{name}.weight" for i in layers for name in LAYER]
    save({name: tensors[to_transformers(name)] for name in names}, shipped.t5, {})


def export_expert(state: Path, path: Path, variant: str) -> None:
    """Write one expert; the header says its variant and its number of heads, which no shape shows."""
    model = new_transformer()
    load_model(state, model)
    save(model.state_dict(), path, {"variant": variant, "num_heads": str(CONFIG.num_heads)})


def save(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write tensors as safetensors, rounded to bf16 but for fp8 ones and their scales."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        name: tensor.contiguous()
        if tensor.dtype == torch.float8_e4m3fn or name.endswith(".scale_weight")
        else tensor.to(torch.bfloat16).contiguous()
        for name, tensor in tensors.items()
    }
    save_file(kept, path, metadata)
    path.chmod(0o644)
