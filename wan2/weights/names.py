"""The names of tensors in published files: which model they are of, and their native names. Knows no contents.

Read: native Wan names, the same under ComfyUI's `model.diffusion_model.` prefix, diffusers' WanTransformer3DModel
names, and ComfyUI's scaled fp8 in both spellings of the scale.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.weights.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
# Names are translated to tell what a file is, and again to load it; both experts have the same.
MOST_NAMES = 1 << 13
SCALE_RULE = "must be finite and above 0"


def sources(names: Iterable[str], rename: Callable[[str], str] | None = None) -> dict[str, Source]:
    """Native name -> source. Fp8 scales and markers are folded into the tensors they belong to.

    rename: gives the native name; without it, that of a transformer.

    Raises `InputError` when two tensors of the file have the same native name.
    """
    stored: dict[str, str] = {}
    for name in names:
        native = (rename or native_name)(name)
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


@lru_cache(MOST_NAMES)
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
