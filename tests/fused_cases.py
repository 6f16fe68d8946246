"""Fused kernels beside the plain operators, by Triton's interpreter: `TRITON_INTERPRET=1 python -m tests.fused_cases`.

Prints a line of JSON: by case, how far the results are apart, in steps of the dtype at the largest value.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from wan2.models.attention import dense_attention
from wan2.models.conditioning import Conditioning
from wan2.models.elementwise import PLAIN
from wan2.models.forms import as_fp8
from wan2.models.fp8 import Rows, quantise_rows
from wan2.models.fused import FUSED, fused_regions
from wan2.models.held import hold
from wan2.models.layers import REGIONS, Block
from wan2.models.rope import rope_table

DIM, HEADS, FFN, GRID = 48, 2, 80, (3, 2, 2)
TOKENS = 12
EPS = 1e-6
BF16 = torch.bfloat16
LINEARS = [f"{part}_attn.{name}.weight" for part in ("self", "cross") for name in "qkvo"] + [
    "ffn.0.weight",
    "ffn.2.weight",
]


def steps(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in steps of the dtype at the largest value."""
    step = expected.float().abs().max() * torch.finfo(found.dtype).eps
    return float((found.float() - expected.float()).abs().max() / step)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = BF16) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def norms() -> Iterator[tuple[str, float]]:
    for dtype in (BF16, torch.float32):
        for batch in (1, 2):
            x = 3 + draw(batch, TOKENS + 1, DIM, dtype=dtype)[:, 1:]
            modulation = (
                draw(batch, 1, DIM, seed=1, dtype=torch.float32),
                draw(batch, 1, DIM, seed=2, dtype=torch.float32),
            )
            made = steps(FUSED.norm(x, EPS, *modulation), PLAIN.norm(x, EPS, *modulation))
            yield f"norm, {dtype}, batch {batch}", made


def rotations() -> Iterator[tuple[str, float]]:
    rope = rope_table(GRID, DIM // HEADS, torch.device("cpu"))
    for dtype in (BF16, torch.float32):
        x, weight = draw(2, TOKENS, HEADS, DIM // HEADS, dtype=dtype), 1 + draw(DIM, seed=1, dtype=dtype)
        room = torch.zeros(2, TOKENS + 3, HEADS, DIM // HEADS, dtype=dtype)
        out = FUSED.rms_rope(x, weight, EPS, rope, room[:, 2:-1])
        yield f"rotation, {dtype}", steps(out, PLAIN.rms_rope(x, weight, EPS, rope, None))
        yield f"written beside, {dtype}", float(room[:, [0, 1, -1]].abs().max())


def rows() -> Iterator[tuple[str, float]]:
    x = torch.cat(
        [draw(6, 40), draw(4, 40, seed=1) * 1e-30, torch.zeros(1, 40, dtype=BF16), draw(3, 40, seed=2) * 1e30]
    )
    for name, values in (("bf16", x), ("fp32", x.float())):
        yield f"quantised, {name}", _rows_apart(FUSED.quantise_rows(values), quantise_rows(values))
    spoilt = x.clone()
    spoilt[0, 3], spoilt[1, 5] = torch.nan, -torch.inf
    finite = FUSED.quantise_rows(spoilt).scale.isfinite().flatten()
    yield "rows that are not finite", float(finite[:2].any() or not finite[2:].all())
    found, expected = FUSED.gelu_rows(draw(2, 7, 80)), PLAIN.gelu_rows(draw(2, 7, 80))
    apart = (found.values.float() * found.scale - expected.values.float() * expected.scale).abs()
    yield (
        "GELU, quantised, of the largest",
        float((apart / (expected.values.float() * expected.scale).abs().amax(-1, True)).max()),
    )


def _rows_apart(found: Rows, expected: Rows) -> float:
    apart = (found.values.float() - expected.values.float()).abs().max(), (found.scale - expected.scale).abs().max()
    return float(max(apart))


def blocks() -> Iterator[tuple[str, float]]:
    torch.manual_seed(0)
    block = Block(DIM, FFN, HEADS, EPS).to(BF16).requires_grad_(False)
    text = draw(1, 16, HEADS, DIM // HEADS, seed=5), draw(1, 16, HEADS, DIM // HEADS, seed=6)
    conditioning = Conditioning(draw(1, 16, DIM), dense_attention, dense_attention)
    time = draw(1, 6, DIM, seed=4, dtype=torch.float32)
    rope = rope_table(GRID, DIM // HEADS, torch.device("cpu"))
    for name in ("bf16", "fp8 products"):
        if name != "bf16":
            _hold(block)
        run = [
            block(draw(1, TOKENS, DIM, seed=3), time, text, rope, conditioning, r) for r in (fused_regions(), REGIONS)
        ]
        yield f"a block, {name}", steps(*run)


def _hold(block: Block) -> None:
    weights = {name: block.get_parameter(name) for name in LINEARS}
    biases = {name: block.get_parameter(name.replace("weight", "bias")) for name in LINEARS}
    hold(block, as_fp8(LINEARS), fast={"fp8"})
    for name in LINEARS:
        linear: Any = block.get_submodule(name.removesuffix(".weight"))
        held = quantise_rows(weights[name])
        linear.stored, linear.scale = (nn.Parameter(part, requires_grad=False) for part in held[:2])
        linear.bias = biases[name]


def main() -> None:
    with torch.inference_mode():
        found = dict(case for cases in (norms, rotations, rows, blocks) for case in cases())
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
