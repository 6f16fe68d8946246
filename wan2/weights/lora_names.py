"""To which tensor of a transformer a tensor of an adapter belongs, and as what: by its name alone.

Knows no shapes and no contents. Read are the names of kohya's scripts, musubi-tuner, LyCORIS, PEFT, diffusers,
DiffSynth, ComfyUI and LightX2V, with Wan's own names of the modules or those of diffusers.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wan2.weights.names import native_name

HALVES = {"lora_down": "down", "lora_A": "down", "lora_up": "up", "lora_B": "up"}
PART = re.compile(
    rf"(?P<module>.+?)\.(?:(?P<half>{'|'.join(HALVES)})(?:\.\w+)?\.weight"
    r"|(?P<bias>lora_B)(?:\.\w+)?\.bias"
    r"|(?P<magnitude>dora_scale|lora_magnitude_vector)(?:\.\w+){0,2}"
    r"|(?P<alone>alpha|diff|diff_b|diff_m|hada_w[12]_[ab]|lokr_w[12](?:_[ab])?))"
)
# What follows the module in the name of the tensor that a part is of; for all other parts, ".weight".
ENDINGS = {"diff": (".weight", ""), "diff_b": (".bias",), "diff_m": (".modulation",), "up_bias": (".bias",)}
# Prefix -> which of a pipeline's two transformers it names, 0 for none of them; several may follow one another.
PREFIXES = {
    "base_model.model.": 0,
    "diffusion_model.": 0,
    "model.": 0,
    "pipe.": 0,
    "dit.": 1,
    "dit2.": 2,
    "transformer.": 1,
    "transformer_1.": 1,
    "transformer_2.": 2,
}
# After these, the names of the modules have underscores for dots.
FLAT = ("lora_unet_", "lycoris_")
FLAT_BLOCK = re.compile(r"blocks_(\d+)(?:_(\w+))?")
IN_BLOCK = (
    *(f"{part}_attn.{layer}" for part in ("self", "cross") for layer in ("q", "k", "v", "o", "norm_q", "norm_k")),
    *(f"attn{n}.{layer}" for n in "12" for layer in ("to_q", "to_k", "to_v", "to_out.0", "norm_q", "norm_k")),
    *("norm3", "norm2", "ffn.0", "ffn.2", "ffn.net.0.proj", "ffn.net.2"),
)
OUTSIDE = (
    *("patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2"),
    *("time_projection.1", "head", "head.head", "proj_out", "condition_embedder.time_proj"),
    *(f"condition_embedder.{kind}_embedder.linear_{n}" for kind in ("time", "text") for n in "12"),
)
DOTTED = {name.replace(".", "_"): name for name in (*IN_BLOCK, *OUTSIDE)}


class Part(NamedTuple):
    """A tensor of an adapter.

    module: what the file calls the module, without prefixes. role: what the tensor is of the adapter: down, up,
    up_bias, alpha, magnitude, diff, or a factor by LyCORIS's name. targets: the native names that the tensor it changes
    may have. transformer: 1 or 2 where the name says which of a pipeline's two it is for, else 0.
    """

    module: str
    role: str
    targets: tuple[str, ...]
    transformer: int


def part_of(name: str) -> Part | None:
    """What a tensor of an adapter is by its name; None where the name is none of an adapter's."""
    match = PART.fullmatch(name)
    if match is None:
        return None
    module, transformer = _without_prefixes(match["module"])
    alone = match["alone"] or ("up_bias" if match["bias"] else "magnitude" if match["magnitude"] else "")
    role = "diff" if alone in ("diff_b", "diff_m") else alone or HALVES[match["half"]]
    endings = ENDINGS.get(alone, (".weight",))
    return Part(module, role, tuple(native_name(module + ending) for ending in endings), transformer)


def _without_prefixes(module: str) -> tuple[str, int]:
    """A module with dots and without prefixes, and which of two transformers these name."""
    for start in FLAT:
        if module.startswith(start):
            return _dotted(module.removeprefix(start).lstrip("_")), 0
    for prefix, transformer in PREFIXES.items():
        if module.startswith(prefix):
            inner, named = _without_prefixes(module.removeprefix(prefix))
            return inner, named or transformer
    return module, 0


def _dotted(flat: str) -> str:
    """A module whose name was written with underscores for dots; unchanged where it is none of a Wan transformer."""
    match = FLAT_BLOCK.fullmatch(flat)
    if match is None:
        return DOTTED.get(flat, flat)
    return f"blocks.{match[1]}" + (f".{DOTTED.get(match[2], match[2])}" if match[2] else "")
