"""What of a transformer's blocks can be adapted. Names only; imports no PyTorch."""

from __future__ import annotations

ATTENTIONS = ("self_attn", "cross_attn")
TARGETS: dict[str, tuple[str, ...]] = {
    **{part: tuple(f"{attention}.{part}" for attention in ATTENTIONS) for part in "qkvo"},
    "ffn": ("ffn.0", "ffn.2"),
}
"""What can be adapted -> the linears of a block that it is."""
