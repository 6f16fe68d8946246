"""Linears in fp8 against the same arithmetic in float64."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.wan2.fp8_files import needs_product
from wan2.errors import InputError
from wan2.models import fp8
from wan2.models.attention import Projections
from wan2.models.conditioning import AttentionProcessor, Conditioning, dense_attention
from wan2.models.forms import as_fp8
from wan2.models.fp8 import (
    FP8,
    FastFp8Linear,
    Fp8Linear,
    check_fast,
    multiply_out,
    quantise_rows,
    quantised_once,
)
from wan2.models.held import hold
from wan2.models.layers import REGIONS, Block
from wan2.models.rope import rope_table

CPU = torch.device("cpu")
HALF_STEP = 2**-4  # of three bits of mantissa


def weights(seed: int = 0, rows: int = 64, columns: int = 96) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = 10.0 ** torch.randint(-6, 4, (rows, 1), generator=generator)
    return torch.randn(rows, columns, generator=generator) * size


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20).filter(
        lambda row: max(map(abs, row)) > 2**-100
    )
)
def test_what_is_rounded_is_within_half_a_step(row: list[float]) -> None:
    x = torch.tensor([row])
    values, scale, dtype = quantise_rows(x)
    assert dtype == torch.float32 and values.dtype == FP8
    # The smallest power of two that makes the row fit.
    largest = x.double().abs().max()
    assert math.log2(scale.item()).is_integer() and 223 < largest / scale <= 448
    error = (values.double() * scale.double() - x.double()).abs()
    in_range = x.abs().double() >= largest * 2**-13
    assert (error <= HALF_STEP * x.abs().double())[in_range].all()
    assert (error <= largest * 2**-17)[~in_range].all()


def test_powers_of_two_and_what_was_rounded_once_are_exact() -> None:
    powers = 2.0 ** torch.arange(-6, 7).repeat(3, 1) * torch.tensor([[1.0], [2**-20], [-(2.0**30)]])
    assert torch.equal(multiply_out(*quantise_rows(powers)[:2], torch.float32), powers)
    once = multiply_out(*quantise_rows(weights())[:2], torch.float32)
    again = quantise_rows(once)
    assert torch.equal(multiply_out(*again[:2], torch.float32), once)
    assert torch.equal(once.bfloat16().float(), once)


def test_the_error_of_normal_weights() -> None:
    x = weights(rows=256, columns=1024)
    back = multiply_out(*quantise_rows(x)[:2], torch.float32)
    assert (((back - x).norm(dim=1) / x.norm(dim=1)) < 0.03).all()


def test_rows_without_a_scale_and_rows_that_are_not_finite() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, math.inf], [math.nan, 1.0], [1.0, 2.0]])
    values, scale, _ = quantise_rows(x)
    assert scale.isfinite().flatten().tolist() == [True, False, False, True]
    back = multiply_out(values, scale, torch.float32)
    assert (back[0] == 0).all() and not back[1].isfinite().all() and not back[2].isfinite().all()


def test_float32_and_bfloat16_give_the_same_bits() -> None:
    x = weights().bfloat16()
    one, other = quantise_rows(x), quantise_rows(x.float())
    assert torch.equal(one.values.view(torch.uint8), other.values.view(torch.uint8))
    assert torch.equal(one.scale, other.scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_multiplied_out_is_the_product_rounded_once(dtype: torch.dtype) -> None:
    stored = torch.arange(256, dtype=torch.uint8).view(FP8).reshape(2, 128)
    stored = torch.where(stored.float().isnan(), 0, stored.float()).to(FP8)
    scale = torch.tensor([[0.0123], [1.7e-4]])
    assert torch.equal(multiply_out(stored, scale, dtype), (stored.float() * scale).to(dtype))


def held(kind: type[Fp8Linear], weight: Tensor, bias: Tensor | None) -> Fp8Linear:
    linear = kind(weight.shape[1], weight.shape[0], bias is not None)
    linear.stored, linear.scale = (nn.Parameter(part, requires_grad=False) for part in quantise_rows(weight)[:2])
    linear.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("biased", [True, False])
def test_a_linear_in_fp8_is_that_of_the_weight_multiplied_out(dtype: torch.dtype, biased: bool) -> None:
    weight, bias = weights(1), torch.randn(64).to(dtype) if biased else None
    x = torch.randn(2, 5, 96).to(dtype)
    linear = held(Fp8Linear, weight, bias)
    assert torch.equal(linear(x), F.linear(x, multiply_out(linear.stored, linear.scale, dtype), bias))


@needs_product
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 48])
def test_the_product_in_fp8_is_that_of_what_was_rounded(dtype: torch.dtype, biased: bool, rows: int) -> None:
    weight, bias = torch.randn(64, 96) * 0.02, torch.randn(64).to(dtype) if biased else None
    x = (torch.randn(2, rows, 96) * torch.logspace(-3, 3, rows)[:, None]).to(dtype)
    linear, given = held(FastFp8Linear, weight, bias), quantise_rows(x)
    exact = (given.values.double() * given.scale) @ (linear.stored.double() * linear.scale).T
    exact = exact if bias is None else exact + bias
    out = linear(x)
    assert out.dtype == dtype and out.shape == exact.shape
    size = exact.abs() + (given.values.double().abs() * given.scale) @ (linear.stored.double().abs() * linear.scale).T
    allowed = {torch.float32: 1e-5, torch.bfloat16: 2**-8}[dtype]
    assert ((out - exact).abs() <= allowed * size).all()
    assert torch.equal(linear(given), out)
    assert (
        (out - F.linear(x.double(), weight.double(), None if bias is None else bias.double())).norm() / out.norm()
    ) < 0.06


def block_in_fp8(fast: bool) -> Block:
    block = Block(96, 192, 4, 1e-6).requires_grad_(False)
    names = [name for name, tensor in block.named_parameters() if name.endswith(".weight") and tensor.dim() == 2]
    was = dict(block.named_parameters())
    hold(block, as_fp8(names), {"fp8"} if fast else ())
    for name in names:
        linear = block.get_submodule(name.removesuffix(".weight"))
        linear.stored, linear.scale = (nn.Parameter(p, requires_grad=False) for p in quantise_rows(was[name])[:2])
        linear.bias = was[name.replace("weight", "bias")]
    return block


TOKENS = 36


class Whole:
    """An attention that asks for everything at once."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return dense_attention(q, k, v)


@dataclass(frozen=True)
class Halves:
    """An attention whose keys and queries are not cut where the other is, and come late and twice."""

    def parts(self, tokens: Projections) -> Iterator[Tensor]:
        k, v = (torch.cat(pair, 1) for pair in zip(*(tokens.keys(*span) for span in ((20, 36), (0, 20))), strict=True))
        tokens.keys(0, 10)
        for span in ((0, 7), (7, 29), (29, 36)):
            yield dense_attention(tokens.queries(*span), k, v)


def run_block(block: Block, own: AttentionProcessor) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x, time = torch.randn(1, TOKENS, 96, generator=generator), torch.randn(1, 6, 96, generator=generator)
    text = block.text_keys(torch.randn(1, 10, 96, generator=generator))
    with torch.inference_mode():
        return block(x, time, text, rope_table((4, 3, 3), 24, CPU), Conditioning(torch.empty(0), own), REGIONS)


@needs_product
@pytest.mark.parametrize("own", [dense_attention, Whole(), Halves()], ids=["by runs", "whole", "anyhow"])
def test_an_activation_is_quantised_once_for_all_its_readers(
    monkeypatch: pytest.MonkeyPatch, own: AttentionProcessor
) -> None:
    """A layer: once for q, k and v; for o; q of the text; o of it; the two of the feed-forward; k and v of the text."""
    block, rows = block_in_fp8(fast=True), Counter()

    def counted(x: Tensor) -> fp8.Rows:
        rows[x.shape[-1]] += x.shape[:-1].numel()
        return quantise_rows(x)

    monkeypatch.setattr("wan2.models.chunks.TOKENS_AT_ONCE", 16)
    monkeypatch.setattr(fp8, "quantise_rows", counted)
    once = run_block(block, own)
    again = 10 if isinstance(own, Halves) else 0  # keys that it asks for twice
    assert rows == {96: 5 * TOKENS + again + 10, 192: TOKENS}
    monkeypatch.setattr(fp8.KeptRows, "take", lambda *_: None)
    assert torch.equal(run_block(block, own), once)
    rows.clear()
    with torch.enable_grad():
        block(
            torch.zeros(1, 9, 96),
            torch.zeros(1, 6, 96),
            block.text_keys(torch.zeros(1, 10, 96)),
            rope_table((1, 3, 3), 24, CPU),
            Conditioning(torch.empty(0)),
            REGIONS,
        )
    assert rows == {96: 5 * 9 + 10, 192: 9}


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(1, 8)), max_size=8), st.integers(0, 19), st.integers(1, 20))
def test_kept_rows_are_the_rows(spans: list[tuple[int, int]], start: int, length: int) -> None:
    rows = quantise_rows(torch.arange(1, 41.0).reshape(1, 20, 2))
    kept, there = fp8.KeptRows(), set()
    for first, n in spans:
        cut = slice(first, min(first + n, 20))
        kept.keep(first, fp8.Rows(rows.values[:, cut], rows.scale[:, cut], rows.dtype))
    # A piece takes the place of one that began where it does.
    for first, n in dict(spans).items():
        there.update(range(first, min(first + n, 20)))
    stop = min(start + length, 20)
    taken = kept.take(start, stop)
    assert (taken is not None) == (set(range(start, stop)) <= there)
    if taken is not None:
        assert torch.equal(taken.values.float(), rows.values[:, start:stop].float())
        assert torch.equal(taken.scale, rows.scale[:, start:stop])


def test_only_linears_that_multiply_in_fp8_share_it() -> None:
    x, plain, stored = torch.randn(3, 96), nn.Linear(96, 64), held(Fp8Linear, weights(), None)
    fast = held(FastFp8Linear, weights(), None)
    assert quantised_once(x, plain) is x and quantised_once(x, fast, stored) is x
    assert isinstance(quantised_once(x, fast, fast), fp8.Rows)


def test_a_device_without_the_product_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> Tensor:
        raise RuntimeError("torch._scaled_mm is only supported on\nCUDA devices with compute capability >= 9.0 or 8.9")

    monkeypatch.setattr(torch, "_scaled_mm", absent)
    with pytest.raises(InputError, match=r"^fp8_fast: PyTorch .* on cpu .*; a GPU needs compute capability 8\.9"):
        check_fast(CPU)


@needs_product
def test_the_product_is_asked_for_as_a_gpu_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """scale_a [M, 1] and scale_b [1, N] in float32, both contiguous; the second matrix by columns."""
    seen = {}
    product = torch._scaled_mm

    def noted(a: Tensor, b: Tensor, **named: Tensor) -> Tensor:
        seen.update(named, a=a, b=b)
        return product(a, b, **named)

    monkeypatch.setattr(torch, "_scaled_mm", noted)
    held(FastFp8Linear, weights(), torch.zeros(64).bfloat16())(torch.randn(2, 5, 96).bfloat16())
    assert seen["a"].shape == (10, 96) and seen["a"].stride() == (96, 1)
    assert seen["b"].shape == (96, 64) and seen["b"].stride() == (1, 96)
    assert seen["scale_a"].shape == (10, 1) and seen["scale_b"].shape == (1, 64)
    for name in ("scale_a", "scale_b"):
        assert seen[name].dtype == torch.float32 and seen[name].is_contiguous()
    assert seen["out_dtype"] == seen["bias"].dtype == torch.bfloat16 and seen["use_fast_accum"] is True
