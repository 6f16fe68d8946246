"""Trained adapters as a LoRA file, in the names that musubi-tuner, ComfyUI, diffusers and this program read.

Source: musubi-tuner, `networks/lora_wan.py`: `lora_unet_blocks_0_self_attn_q.lora_down.weight`, `.lora_up.weight`,
`.alpha`; ComfyUI and diffusers read the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.files import Whole, whole_file
from wan2.weights.header import read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wan2.training.adapters import Adapters

PREFIX = "lora_unet_"
MARK, VALUE = "made_by", "wan2.training"


def lora_tensors(adapters: Adapters, halves: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a file. halves: those of the adapters, or averages of them, by their names in `adapters`."""
    import torch

    found = {}
    for module in adapters.modules_adapted:
        name = PREFIX + _flat(module)
        for half in ("down", "up"):
            value = halves[_flat(f"{module}.{half}")].detach()
            found[f"{name}.lora_{half}.weight"] = value.to("cpu", dtype).contiguous()
        found[f"{name}.alpha"] = torch.tensor(adapters.rank.alpha, dtype=torch.float32)
    return found


def save_lora(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str], whole: Whole = whole_file) -> None:
    """Write a LoRA file, whole or not at all. Raises `OSError`."""
    from safetensors.torch import save

    with whole(path) as part:
        part.write_bytes(save(dict(tensors), {MARK: VALUE, **notes}))


def notes_of(adapters: Adapters, base: str) -> dict[str, str]:
    """What the metadata says in the words of kohya's scripts: module, rank, alpha, base model."""
    return {
        "ss_network_module": "networks.lora_wan",
        "ss_network_dim": str(adapters.rank.rank),
        "ss_network_alpha": f"{adapters.rank.alpha:g}",
        "ss_base_model_version": base,
    }


def is_ours(path: Path) -> bool:
    """Whether a file is a LoRA that this program trained."""
    try:
        return read_header(path).metadata.get(MARK) == VALUE
    except InputError:
        return False


def _flat(name: str) -> str:
    return name.replace(".", "_")
