"""The names of tensors in published files: which model they are of, and their native names. Knows no contents.

Read: native Wan names, the same under ComfyUI's `model.diffusion_model.` prefix, diffusers' WanTransformer3DModel
names, and ComfyUI's scaled fp8 in both spellings of the scale.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.weights.sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
DIFFUSERS_MARK = "condition_embedder."
DIFFUSERS_NAMES = (
    (r"condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"condition_embedder\.time_proj\.", "time_projection.1."),
    (r"scale_shift_table$", "head.modulation"),
    (r"proj_out\.", "head.head."),
    (r"(blocks\.\d+\.)scale_shift_table$", r"\1modulation"),
    (r"(blocks\.\d+\.)attn1\.to_out\.0\.", r"\1self_attn.o."),
    (r"(blocks\.\d+\.)attn2\.to_out\.0\.", r"\1cross_attn.o."),
    (r"(blocks\.\d+\.)attn1\.(?:to_)?", r"\1self_attn."),
    (r"(blocks\.\d+\.)attn2\.(?:to_)?", r"\1cross_attn."),
    (r"(blocks\.\d+\.)norm2\.", r"\1norm3."),
    (r"(blocks\.\d+\.)ffn\.net\.0\.proj\.", r"\1ffn.0."),
    (r"(blocks\.\d+\.)ffn\.net\.2\.", r"\1ffn.2."),
)
SCALES = (".scale_weight", ".weight_scale")
FP8_MARKS = ("scaled_fp8", ".comfy_quant")
FP8_NOTES = (*SCALES, *FP8_MARKS, ".scale_input", ".input_scale")
SCALE_RULE = "must be finite and above 0"
# Of the text encoder, as published, in transformers and in llama.cpp.
EMBEDDINGS = ("token_embedding.weight", "shared.weight", "token_embd.weight")
LORA = re.compile(r"lora_|\.lora|\.alpha$|hada_|lokr_|\.diff(_b)?$")


def sources(names: Iterable[str]) -> dict[str, Source]:
    """Native name -> source. Fp8 scales and markers are folded into the tensors they belong to.

    Raises `InputError` when two tensors of the file have the same native name.
    """
    stored: dict[str, str] = {}
    for name in names:
        native = native_name(name)
        if native in stored:
            raise InputError(f"tensors {stored[native]} and {name} are the same tensor under two names")
        stored[native] = name
    found = {}
    for native, name in stored.items():
        if native.endswith(FP8_NOTES):
            continue
        layer = native.removesuffix(".weight")
        scale = next((stored[layer + ending] for ending in SCALES if layer + ending in stored), None)
        found[native] = Source(name, scale if native.endswith(".weight") else None)
    return found


def native_name(name: str) -> str:
    """The name Wan's own files give to the tensor that a repack calls `name`."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    for pattern, native in DIFFUSERS_NAMES:
        name, replaced = re.subn(rf"^{pattern}", native, name)
        if replaced:
            break
    return name


def describe(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What a checkpoint with these tensors looks like, in words that finish "it looks like ..."."""
    if not shapes:
        return "a file without tensors"
    if any(LORA.search(name) for name in shapes):
        return "a LoRA"
    native = {native_name(name): shape for name, shape in shapes.items()}
    if "patch_embedding.weight" in native and any(name.startswith("blocks.") for name in native):
        diffusers = any(DIFFUSERS_MARK in name for name in shapes)
        return _describe_transformer(native) + (" with diffusers' names" if diffusers else "")
    for what, signs in _FAMILIES:
        if all(any(name.startswith(sign) for name in native) for sign in signs):
            return what
    return f"none of the models known here (its first tensor is {ascii(min(shapes))[:100]})"


_FAMILIES = (
    ("a UMT5 text encoder", ("token_embedding.", "blocks.0.attn.")),
    ("a UMT5 text encoder with transformers' names", ("shared.", "encoder.block.0.")),
    ("a UMT5 text encoder with llama.cpp's names", ("token_embd.", "enc.blk.0.")),
    ("a Wan VAE", ("decoder.middle.", "decoder.upsamples.")),
    ("a Wan VAE with diffusers' names", ("decoder.mid_block.", "decoder.up_blocks.", "quant_conv.")),
    ("a Stable Diffusion model", ("input_blocks.",)),
    ("a Flux or Hunyuan transformer", ("double_blocks.",)),
    ("a transformer of another family", ("transformer_blocks.",)),
)


def embedding_rows(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """How many tokens a text encoder with these tensors knows; None where no tensor says so."""
    found = (shapes[name] for name in EMBEDDINGS if name in shapes)
    return next((shape[0] for shape in found if len(shape) == 2), None)


def _describe_transformer(native: Mapping[str, tuple[int, ...]]) -> str:
    patch = native["patch_embedding.weight"]
    channels = patch[1] if len(patch) > 1 else 0
    layers = len({name.split(".")[1] for name in native if name.startswith("blocks.")})
    size = f"{channels} input channels, {layers} layers, width {patch[0] if patch else 0}"
    if any(name.startswith("vace_") for name in native):
        return f"a Wan VACE transformer ({size})"
    if any(name.startswith("img_emb.") for name in native):
        return f"a Wan2.1 I2V transformer ({size})"
    if channels == 36:
        return f"a Wan2.2 I2V transformer ({size})"
    if channels == 48:
        return f"a Wan2.2 TI2V-5B transformer ({size})"
    return f"a Wan T2V transformer ({size})"
