"""Describes a file that was given as a LoRA, by its tensors' names and shapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wan2.weights.kinds.adapters import ADAPTER
from wan2.weights.kinds.namer import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE = r"[kv]_img|img_emb|add_[kv]_proj|norm_added_k|image_embedder"
TEXT_ENCODER = r"(^|\.)text_encoder(_\d)?\.|^lora_te\d?_"
# The first sign found in any name decides; kinds of adapters come before the models they are for.
SIGNS = (
    ("an OFT adapter, which is not read", r"\boft_|boft"),
    ("a LoCon with a factor in the middle, which is not read", r"lora_mid|hada_t\d|lokr_t\d"),
    ("a LoRA of an image-to-video (I2V) transformer", IMAGE),
    ("a LoRA of a VACE transformer", r"vace_"),
    ("a LoRA of Flux or Hunyuan", r"(double|single)_(transformer_)?blocks"),
    ("a LoRA of Stable Diffusion", r"lora_te\d?_|(down|up|input|output|mid)_blocks?"),
    ("a LoRA of a transformer of another family", r"transformer_blocks"),
)
KINDS = (("DoRA", r"dora_scale|lora_magnitude_vector"), ("LoHa", r"hada_"), ("LoKr", r"lokr_"), ("LoRA", ""))
"""What the files are called that are read: the first whose sign is found in any name."""
BLOCK = re.compile(r"blocks[._](\d+)")
INNER = re.compile(r"(self_attn|attn1)[._](to_)?q\.lora_(down|A)\b.*\.weight$")


def describe_lora(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What a file with these tensors looks like, in words that finish "it looks like ..."."""
    for what, sign in SIGNS:
        if any(re.search(sign, name) for name in shapes):
            return what
    if not any(ADAPTER.search(name) for name in shapes):
        return str(kind_of({name: ("", shape) for name, shape in shapes.items()}))
    kind = next(kind for kind, sign in KINDS if any(re.search(sign, name) for name in shapes))
    blocks = {int(found[1]) for name in shapes if (found := BLOCK.search(name))}
    if not blocks:
        return f"a {kind} of another model"
    widths = {shape[1] for name, shape in shapes.items() if INNER.search(name) and len(shape) == 2}
    width = f", {max(widths)} wide" if widths else ""
    return f"a {kind} of a transformer of {max(blocks) + 1} blocks{width}"


def is_left_out(name: str) -> bool:
    """Whether a tensor of an adapter is for a part that a run from text does not have, or does not change: what looks
    at images, and the text encoder.
    """
    return re.search(f"{IMAGE}|{TEXT_ENCODER}", name) is not None
