"""The UMT5 encoder's published tensor names translated to those of transformers, and its sizes. Knows no tensors.

Source: `models_t5_umt5-xxl-enc-bf16.pth` (242 tensors) on one side, transformers' `UMT5EncoderModel` on the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from wan2.weights.names import MOST_NAMES

# Applied in order to every name; a name transformers already knows passes unchanged. First those of llama.cpp.
RENAMES = (
    (r"^token_embd\.", "shared."),
    (r"^enc\.output_norm\.", "encoder.final_layer_norm."),
    (r"^enc\.blk\.", "encoder.block."),
    (r"\.attn_([qkvo])\.", r".layer.0.SelfAttention.\1."),
    (r"\.attn_rel_b\.", ".layer.0.SelfAttention.relative_attention_bias."),
    (r"\.attn_norm\.", ".layer.0.layer_norm."),
    (r"\.ffn_norm\.", ".layer.1.layer_norm."),
    (r"\.ffn_gate\.", ".layer.1.DenseReluDense.wi_0."),
    (r"\.ffn_up\.", ".layer.1.DenseReluDense.wi_1."),
    (r"\.ffn_down\.", ".layer.1.DenseReluDense.wo."),
    (r"^token_embedding\.", "shared."),
    (r"^norm\.", "encoder.final_layer_norm."),
    (r"^blocks\.", "encoder.block."),
    (r"\.norm1\.", ".layer.0.layer_norm."),
    (r"\.norm2\.", ".layer.1.layer_norm."),
    (r"\.attn\.", ".layer.0.SelfAttention."),
    (r"\.pos_embedding\.embedding\.", ".layer.0.SelfAttention.relative_attention_bias."),
    (r"\.ffn\.gate\.0\.", ".layer.1.DenseReluDense.wi_0."),
    (r"\.ffn\.fc1\.", ".layer.1.DenseReluDense.wi_1."),
    (r"\.ffn\.fc2\.", ".layer.1.DenseReluDense.wo."),
)
BIAS = "relative_attention_bias.weight"
ATTENTION = "encoder.block.0.layer.0.SelfAttention"
EMBEDDING, FINAL_NORM = "shared.weight", "encoder.final_layer_norm.weight"
SIZED_BY = {
    "embedding": EMBEDDING,
    "query": f"{ATTENTION}.q.weight",
    "bias": f"{ATTENTION}.{BIAS}",
    "feed_forward": "encoder.block.0.layer.1.DenseReluDense.wo.weight",
}
# Repacks repeat the embedding under its tied name, and carry the tokenizer along.
IGNORED = ("encoder.embed_tokens.weight", "spiece_model")


@lru_cache(MOST_NAMES)
def to_transformers(name: str) -> str:
    """The name in `UMT5EncoderModel` of a published name."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any] | None:
    """Arguments of `UMT5Config` read off shapes (transformers' names), or None if they are of another model."""
    if any(len(shapes.get(name, ())) != 2 or 0 in shapes[name] for name in SIZED_BY.values()):
        return None
    size = {what: shapes[name] for what, name in SIZED_BY.items()}
    buckets, heads = size["bias"]
    return {
        "vocab_size": size["embedding"][0],
        "d_model": size["embedding"][1],
        "d_kv": size["query"][0] // heads,
        "d_ff": size["feed_forward"][1],
        "num_layers": _count_layers(shapes),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "dropout_rate": 0.0,
    }


def tensor_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of an encoder with these arguments of `UMT5Config`, by transformers' names."""
    dim, inner, hidden = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    attention = {f"{name}.weight": (inner, dim) for name in "qkv"}
    attention |= {"o.weight": (dim, inner), BIAS: (config["relative_attention_num_buckets"], config["num_heads"])}
    layer: dict[str, tuple[int, ...]] = {f"layer.0.SelfAttention.{name}": shape for name, shape in attention.items()}
    layer |= {"layer.0.layer_norm.weight": (dim,), "layer.1.layer_norm.weight": (dim,)}
    layer |= {f"layer.1.DenseReluDense.{name}.weight": (hidden, dim) for name in ("wi_0", "wi_1")}
    layer["layer.1.DenseReluDense.wo.weight"] = dim, hidden
    layers = range(config["num_layers"])
    shapes = {f"encoder.block.{index}.{name}": shape for index in layers for name, shape in layer.items()}
    return shapes | {EMBEDDING: (config["vocab_size"], dim), FINAL_NORM: (dim,)}


def _count_layers(names: Iterable[str]) -> int:
    return len({name.split(".")[2] for name in names if name.startswith("encoder.block.")})
