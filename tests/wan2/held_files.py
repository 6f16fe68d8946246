"""A tiny model whose transformers are held in few bits: one in GGUF, one in int8, or both in the same."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file

from tests.tiny import TinyModel
from tests.wan2.gguf_files import packed, write_gguf
from tests.wan2.int8_files import in_int8
from tests.wan2.lora_files import comfy, draw, write_lora
from tests.wan2.reference import CONFIG
from wan2.weights.fp8 import linears

NOTES = {"num_heads": "4", "variant": "full"}
TURNED = 16


def held_flags(model: TinyModel, folder: Path, high: str, low: str) -> list[str]:
    """The flags of a model, its two transformers in "gguf", in "int8" turned by ConvRot, or as they are ("")."""
    flags = model.flags()
    for noise, form in (("high", high), ("low", low)):
        path = model.expert(noise)
        if form:
            flags[flags.index(str(path))] = str(_written(path, folder / f"{noise}.{form}", form))
    return flags


def branch_flags(folder: Path) -> list[str]:
    """The flags of a LoRA that stands beside the weights of both transformers."""
    lora = str(write_lora(folder / "lora.safetensors", comfy(draw(CONFIG))))
    return ["--lora_weight", lora, "--lora_weight_high_noise", lora, "--lora_mode", "branch"]


def _written(path: Path, target: Path, form: str) -> Path:
    tensors = load_file(path)
    if form == "gguf":
        return write_gguf(target, packed(tensors, "Q5_0"), NOTES)
    for index in range(CONFIG.num_layers):
        for name in (f"blocks.{index}.{inner}" for inner in linears(CONFIG)):
            tensors |= in_int8(name, tensors[name], TURNED)
    save_file(tensors, target.with_suffix(".safetensors"), NOTES)
    return target.with_suffix(".safetensors")
