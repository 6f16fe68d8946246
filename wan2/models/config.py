"""Sizes of a transformer and the tensors that follow from them, in integers. Knows nothing of PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan2.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_DIM = 128
EPS = 1e-6
# Published transformers have 40.
MAX_LAYERS = 512
# Up to so many tokens of video for each position of the text, its keys and values are kept: they are over 1 % of the
# work then. For longer clips they are less, and the memory (21 MB a block and pass at the published size) is needed.
TOKENS_PER_POSITION = 16


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a transformer, named as in the published configuration files."""

    dim: int
    in_dim: int
    ffn_dim: int
    out_dim: int
    text_dim: int
    freq_dim: int
    eps: float
    patch_size: tuple[int, int, int]
    num_heads: int
    num_layers: int

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.dim // self.num_heads

    @classmethod
    def from_header(cls, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> TransformerConfig:
        """Read the sizes off the shapes of a checkpoint with native key names.

        Heads cannot be seen in shapes: `metadata["num_heads"]` says how many, else they are 128 wide. Raises
        `InputError` when a tensor that carries a size is absent or has no such shape.
        """
        dim, in_dim, *patch = _shape(shapes, "patch_embedding.weight", 5)
        num_layers = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
        if num_layers > MAX_LAYERS:
            raise InputError(f"has {num_layers} blocks; must be at most {MAX_LAYERS}")
        config = cls(
            dim=dim,
            in_dim=in_dim,
            ffn_dim=_shape(shapes, "blocks.0.ffn.0.weight", 2)[0],
            out_dim=_shape(shapes, "head.head.weight", 2)[0] // math.prod(patch),
            text_dim=_shape(shapes, "text_embedding.0.weight", 2)[1],
            freq_dim=_shape(shapes, "time_embedding.0.weight", 2)[1],
            eps=EPS,
            patch_size=(patch[0], patch[1], patch[2]),
            num_heads=_num_heads(metadata.get("num_heads"), dim),
            num_layers=num_layers,
        )
        if dim % config.num_heads or config.head_dim % 2:
            raise InputError(f"{dim} channels do not split into {config.num_heads} heads of an even width")
        return config

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Native name -> shape of every tensor of the transformer, in the order of the published files."""
        dim, out = self.dim, self.out_dim * math.prod(self.patch_size)
        shapes: dict[str, tuple[int, ...]] = _with_bias("patch_embedding", dim, self.in_dim, *self.patch_size)
        shapes |= _with_bias("text_embedding.0", dim, self.text_dim) | _with_bias("text_embedding.2", dim, dim)
        shapes |= _with_bias("time_embedding.0", dim, self.freq_dim) | _with_bias("time_embedding.2", dim, dim)
        shapes |= _with_bias("time_projection.1", 6 * dim, dim)
        block = self.block_shapes()
        for index in range(self.num_layers):
            shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
        return shapes | {"head.modulation": (1, 2, dim)} | _with_bias("head.head", out, dim)

    def block_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name within its block -> shape of every tensor of a block."""
        dim = self.dim
        shapes: dict[str, tuple[int, ...]] = {"modulation": (1, 6, dim)}
        for attention in ("self_attn", "cross_attn"):
            for projection in ("q", "k", "v", "o"):
                shapes |= _with_bias(f"{attention}.{projection}", dim, dim)
            shapes |= {f"{attention}.norm_q.weight": (dim,), f"{attention}.norm_k.weight": (dim,)}
        shapes |= _with_bias("norm3", dim)
        return shapes | _with_bias("ffn.0", self.ffn_dim, dim) | _with_bias("ffn.2", dim, self.ffn_dim)


def _with_bias(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str, rank: int) -> tuple[int, ...]:
    if name not in shapes:
        raise InputError(f"tensor {name} is missing")
    if len(shapes[name]) != rank or 0 in shapes[name]:
        raise InputError(f"tensor {name} has the shape {list(shapes[name])}, not {rank} sizes above 0")
    return shapes[name]


def _num_heads(stated: str | None, dim: int) -> int:
    if stated is None:
        return max(1, dim // HEAD_DIM)
    if not stated.isdecimal() or len(stated) > 6 or not 1 <= int(stated) <= dim:
        raise InputError(f"its metadata says num_heads = {ascii(stated)[:40]}; must be between 1 and {dim}")
    return int(stated)


A14B = TransformerConfig(
    dim=5120,
    in_dim=16,
    ffn_dim=13824,
    out_dim=16,
    text_dim=4096,
    freq_dim=256,
    eps=1e-6,
    patch_size=(1, 2, 2),
    num_heads=40,
    num_layers=40,
)
"""The published transformers of Wan2.2 T2V-A14B."""
