"""Products of int8 by int8 against integers in int64, and linears that compute so against what they stand for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.refused import refused
from tests.wan2.int8_files import hadamard, in_int8
from wan2.models import int8
from wan2.models.int8 import FastInt8Linear, check_product, multiply_out, product, quantise_rows, turned

CPU = torch.device("cpu")
COLUMNS = 64


def integers(*shape: int) -> Tensor:
    return torch.randint(-128, 128, shape, dtype=torch.int8)


def linear(group: int, bias: bool = True) -> FastInt8Linear:
    made = FastInt8Linear(COLUMNS, 40, bias, group)
    stored = in_int8("a.weight", torch.randn(40, COLUMNS), group)
    made.stored.data, made.scale.data = stored["a.weight"], stored["a.weight_scale"]
    if made.bias is not None:
        nn.init.normal_(made.bias)
    return made


@pytest.mark.parametrize("rows", [1, 16, 17, 50])
def test_products_are_exact(rows: int) -> None:
    values, stored = integers(rows, 13_824), integers(24, 13_824)
    values[0], stored[0] = -128, -128  # the largest sum there is
    assert torch.equal(product(values, stored).long(), values.long() @ stored.long().t())


def test_rows_are_rounded_to_the_nearest_of_255_numbers() -> None:
    x = torch.randn(30, COLUMNS) * 10.0 ** torch.randint(-30, 30, (30, 1))
    x[0] = 0
    values, scale = quantise_rows(x)
    assert torch.equal(values.abs().amax(1)[1:], torch.full((29,), 127, dtype=torch.int8)) and not values[0].any()
    assert ((values.double() * scale.double() - x.double()).abs() <= scale.double() * 0.5001).all()


@pytest.mark.parametrize("group", [4, 16, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_rows_are_turned_by_the_matrix(group: int, dtype: torch.dtype) -> None:
    x = torch.randn(5, 3 * group).to(dtype)
    expected = (x.double().unflatten(1, (-1, group)) @ hadamard(group)).flatten(1)
    assert turned(x, group).dtype == dtype
    torch.testing.assert_close(turned(x, group).double(), expected, rtol=0, atol=16 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("group", [0, 16], ids=["plain", "turned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_linear_is_off_by_the_rounding_of_its_input_alone(group: int, dtype: torch.dtype) -> None:
    made, x = linear(group), torch.randn(2, 3, COLUMNS).to(dtype)
    found = made(x)
    weight = multiply_out(made.stored, made.scale, group, torch.float32)
    exact = F.linear(x.double(), weight.double(), made.bias.double())
    as_held = turned(x.flatten(0, 1).float(), group) if group else x.flatten(0, 1).float()
    step = as_held.abs().amax(1, keepdim=True) / 127
    allowed = 0.5 * step.double() @ (made.stored.double().abs() * made.scale).sum(1)[None]
    # What is turned is rounded to the dtype, and what comes out, too.
    allowed += (2 + math.sqrt(group)) * torch.finfo(dtype).eps * exact.abs().max()
    assert found.dtype == dtype and found.shape == (2, 3, 40)
    assert ((found.double() - exact).abs().flatten(0, 1) <= allowed).all()


def test_what_is_not_finite_stays_so_in_its_row_alone() -> None:
    x = torch.randn(3, COLUMNS)
    x[0, 5], x[1, 7] = math.inf, math.nan
    found = linear(0, bias=False)(x)
    assert not found[:2].isfinite().any() and found[2].isfinite().all()


def test_a_device_without_the_product_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Tensor) -> Tensor:
        raise RuntimeError("no kernel\nfor this device")

    check_product(CPU)
    monkeypatch.setattr(int8, "product", fails)
    with refused(r"--int8_fast: PyTorch .* has no int8 product on cpu \(no kernel for this device\)"):
        check_product(CPU)
