"""Adapters of every kind, of random values, large enough to be seen, for the transformers of six blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.wan2.fp8_files import SIX
from tests.wan2.lora_files import LINEARS, comfy, draw, kohya, with_whole

SHAPES = SIX.tensor_shapes()


def _of(shapes: dict[str, tuple[int, ...]], rng: torch.Generator) -> dict[str, Tensor]:
    return {role: 0.3 * torch.randn(shape, generator=rng) for role, shape in shapes.items()}


def loha(rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"hada_w{n}_{side}": (rows, 3) if side == "a" else (3, columns) for n in "12" for side in "ab"}


def lokr(rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {"lokr_w1": (4, 8), "lokr_w2_a": (rows // 4, 2), "lokr_w2_b": (2, columns // 8)}


def lokr_whole(rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {"lokr_w1_a": (4, 2), "lokr_w1_b": (2, 8), "lokr_w2": (rows // 4, columns // 8)}


def pair(rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {"lora_up.weight": (rows, 4), "lora_down.weight": (4, columns)}


def pair_with_bias(rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {"lora_B.weight": (rows, 4), "lora_A.weight": (4, columns), "lora_B.bias": (rows,)}


def written(kind, seed: int = 0, dora: str = "") -> dict[str, Tensor]:  # noqa: ANN001
    """One adapter beside every linear of every block. dora: "rows" or "columns" have a length of their own."""
    rng, made = torch.Generator().manual_seed(seed), {}
    for module in (f"blocks.{index}.{linear}" for index in range(SIX.num_layers) for linear in LINEARS):
        rows, columns = SHAPES[f"{module}.weight"]
        parts = _of(kind(rows, columns), rng) | {"alpha": torch.tensor(1.5)}
        if dora:
            shape = (rows, 1) if dora == "rows" else (1, columns)
            parts["dora_scale"] = 0.5 + torch.rand(shape, generator=rng)
        made |= {f"diffusion_model.{module}.{role}": tensor for role, tensor in parts.items()}
    return made


PLAIN = draw(SIX, dtype=torch.float32)
EVERY: dict[str, dict[str, Tensor]] = {
    "kohya": kohya(PLAIN),
    "with differences": comfy(with_whole(PLAIN, SIX)),
    "with a bias": written(pair_with_bias),
    "loha": written(loha),
    "lokr": written(lokr),
    "lokr of one whole": written(lokr_whole),
    "dora": written(pair, dora="rows"),
    "dora of columns": written(pair, dora="columns"),
    "doha": written(loha, dora="columns"),
    "dokr": written(lokr, dora="rows"),
}
