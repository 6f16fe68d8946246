from __future__ import annotations

import pytest
import torch

from wan2.models.rope import apply_rope, rope_table

CPU = torch.device("cpu")


def complex_rope(x: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
    """The published form: complex128, one table an axis."""
    d = x.shape[-1]
    side = d // 3
    parts = []
    for axis, (length, width) in enumerate(zip(grid, (d - 2 * side, side, side), strict=True)):
        rates = 1.0 / 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = torch.outer(torch.arange(length), rates)
        table = torch.polar(torch.ones_like(angles), angles)
        shape = [1, 1, 1, width // 2]
        shape[axis] = length
        parts.append(table.view(shape).expand(*grid, -1))
    table = torch.cat(parts, -1).reshape(-1, 1, d // 2)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)


@pytest.mark.parametrize("head_dim", [24, 128])
def test_equals_the_published_rotation(head_dim: int) -> None:
    grid = (4, 3, 5)
    x = torch.randn(2, 60, 2, head_dim)
    assert (apply_rope(x, rope_table(grid, head_dim, CPU)) - complex_rope(x, grid)).abs().max() < 2e-6


def test_every_even_width_of_a_head_is_split() -> None:
    for head_dim in range(6, 130, 2):
        assert rope_table((2, 2, 2), head_dim, CPU).cos.shape == (8, 1, head_dim // 2)


def test_the_table_is_fp32_made_once_a_grid_and_fit_for_training() -> None:
    with torch.inference_mode():
        table = rope_table((3, 2, 7), 24, CPU)
    assert rope_table((3, 2, 7), 24, CPU) is table
    assert table.cos.dtype == torch.float32 and not table.cos.is_inference()
    x = torch.randn(1, 42, 1, 24, requires_grad=True)
    apply_rope(x, table).sum().backward()
    assert x.grad is not None


def test_half_precision_is_rotated_in_fp32() -> None:
    x = torch.randn(1, 42, 1, 24).bfloat16()
    table = rope_table((3, 2, 7), 24, CPU)
    assert torch.equal(apply_rope(x, table), apply_rope(x.float(), table).bfloat16())
