"""Describes a file that was given as a LoRA, by its tensors' names and shapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wan2.weights.kinds.adapters import ADAPTER
from wan2.weights.kinds.namer import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

# The first sign found in any name decides; kinds of adapters come before the models they are for.
SIGNS = (
    ("a LoHa (products of Hadamard), which is not read", r"hada_"),
    ("a LoKr (products of Kronecker), which is not read", r"lokr_"),
    ("an OFT adapter, which is not read", r"\boft_|boft"),
    ("a DoRA, which is not read", r"dora_scale|lora_magnitude_vector"),
    ("a LoCon with a factor in the middle, which is not read", r"lora_mid"),
    ("an adapter of PEFT's own, whose alpha stands in another file (adapter_config.json)", r"^base_model\.model\."),
    ("a LoRA of an image-to-video (I2V) transformer", r"[kv]_img|img_emb|add_[kv]_proj|image_embedder"),
    ("a LoRA of a VACE transformer", r"vace_"),
    ("a LoRA of Flux or Hunyuan", r"(double|single)_(transformer_)?blocks"),
    ("a LoRA of Stable Diffusion", r"lora_te\d?_|(down|up|input|output|mid)_blocks?"),
    ("a LoRA of a transformer of another family", r"transformer_blocks"),
)
BLOCK = re.compile(r"blocks[._](\d+)")
INNER = re.compile(r"(self_attn|attn1)[._](to_)?q\.lora_(down|A)\b.*\.weight$")


def describe_lora(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What a file with these tensors looks like, in words that finish "it looks like ..."."""
    for what, sign in SIGNS:
        if any(re.search(sign, name) for name in shapes):
            return what
    if not any(ADAPTER.search(name) for name in shapes):
        return str(kind_of({name: ("", shape) for name, shape in shapes.items()}))
    blocks = {int(found[1]) for name in shapes if (found := BLOCK.search(name))}
    if not blocks:
        return "a LoRA of another model"
    widths = {shape[1] for name, shape in shapes.items() if INNER.search(name) and len(shape) == 2}
    width = f", {max(widths)} wide" if widths else ""
    return f"a LoRA of a transformer of {max(blocks) + 1} blocks{width}"
