"""LoRAs and what else is added to a model, by the spelling of their tensors' names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from wan2.weights.kinds.kind import LORA, Kind, blocks

Shapes = Mapping[str, tuple[int, ...]]

ADAPTER = re.compile(r"lora_|\.lora\b|hada_|lokr_|\b(b?oft|vera)_|dora_scale|\.alpha$|\.diff(_b|_m)?$")
# How the weights are changed; the first sign found decides.
FORMS = (
    ("LoHa", r"hada_w"),
    ("LoKr", r"lokr_w"),
    ("BOFT", r"\bboft_"),
    ("OFT", r"\boft_"),
    ("VeRA", r"\bvera_"),
    ("DoRA", r"dora_scale|lora_magnitude_vector"),
    ("LoCon with a factor in the middle", r"lora_mid"),
    ("control LoRA", r"^(lora_controlnet$|control_.*lora_A)|controlnet.*\.lora_"),
    (LORA, r"lora"),
    ("set of differences", r"\.diff(_b|_m)?$"),
)
# For which model; the first sign found decides.
TARGETS = (
    ("Wan I2V", r"[kv]_img|img_emb|add_[kv]_proj|image_embedder"),
    ("Wan VACE", r"vace_"),
    ("HunyuanVideo", r"individual_token_refiner|token_refiner"),
    ("Qwen-Image", r"transformer_blocks[._]\d+[._](img|txt)_(mod|mlp)"),
    ("Flux.1 or HunyuanVideo", r"(double|single)_(transformer_)?blocks"),
    ("Stable Diffusion", r"(down|up|input|output|mid)_blocks?|middle_block"),
    ("LTX-Video or CogVideoX", r"transformer_blocks"),
    ("text encoder", r"lora_te\d?_|text_model|text_encoder"),
    ("Wan", r"blocks[._]\d+[._](self_attn|cross_attn|ffn|attn1|attn2)"),
)
SPELLINGS = (
    ("names of kohya", r"^lora_(unet|te|transformer)"),
    ("names of LyCORIS", r"^lycoris_"),
    ("names of PEFT", r"^base_model\.model\."),
    ("names of diffusers", r"^transformer(_2)?\.|\.attn1\.to_|\.lora\.(up|down)\."),
    ("prefix diffusion_model.", r"^diffusion_model\."),
    ("prefix pipe.dit.", r"^pipe\.dit\."),
)
BLOCK = re.compile(r"blocks[._](\d+)")
INNER = re.compile(r"(self_attn|attn1)[._](to_)?q\.(lora_(down|A)\b.*|lora\.down)\.weight$")


def adapter(shapes: Shapes) -> Kind | None:
    """The kind of a file that changes a model; None for anything else."""
    if not any(ADAPTER.search(name) for name in shapes):
        return None
    form = _first(FORMS, shapes) or "adapter"
    return Kind(form, _first(TARGETS, shapes), _size(shapes), _first(SPELLINGS, shapes))


def _first(rows: tuple[tuple[str, str], ...], shapes: Shapes) -> str:
    return next((said for said, sign in rows if any(re.search(sign, name) for name in shapes)), "")


def _size(shapes: Shapes) -> str:
    indices = [int(found[1]) for name in shapes if (found := BLOCK.search(name))]
    widths = {shape[1] for name, shape in shapes.items() if INNER.search(name) and len(shape) == 2}
    said = [blocks(max(indices) + 1)] if indices else []
    return ", ".join([*said, f"{max(widths)} wide"] if widths else said)
