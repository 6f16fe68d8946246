"""A forward of the true 14B shape, counted on tensors without numbers: operations, bytes alive, waits."""

from __future__ import annotations

import pytest
import torch

from benchmarks.counting import LiveBytes, Waits
from benchmarks.forward import ALLOWED_BYTES, RING_BYTES, counted_flops, formula_flops, live_bytes, true_layout, waits


@pytest.mark.parametrize(("num_frames", "num_shots"), [(81, 1), (81, 13), (241, 6)])
def test_sparse_operations_are_those_of_the_formula(num_frames: int, num_shots: int) -> None:
    layout = true_layout(num_frames, num_shots)
    assert counted_flops(layout, sparse=True) == pytest.approx(formula_flops(layout, sparse=True), rel=0.01)


@pytest.mark.parametrize("num_frames", [81, 241])
def test_full_operations_are_those_of_the_formula(num_frames: int) -> None:
    layout = true_layout(num_frames, 1)
    assert counted_flops(layout, sparse=False) == pytest.approx(formula_flops(layout, sparse=False), rel=0.01)


@pytest.mark.parametrize("sparse", [True, False])
def test_what_is_alive_stays_within_the_mark(sparse: bool) -> None:
    work = live_bytes(true_layout(241, 6), sparse)
    stream = 95_160 * 5120 * 2
    assert stream * (1.5 if sparse else 3) < work  # the stream, and the keys and values that are there at once
    assert work + RING_BYTES <= ALLOWED_BYTES[sparse]


@pytest.mark.parametrize("sparse", [True, False])
def test_a_layer_never_waits_for_the_device(sparse: bool) -> None:
    found = waits(true_layout(241, 6), sparse)
    assert found.operators > 100
    assert found.found == []


def test_the_counters_see_what_they_should() -> None:
    with LiveBytes() as live:
        a = torch.empty(1000, dtype=torch.uint8)
        b = a[10:]
        c = torch.empty(500, dtype=torch.uint8)
        del a, b
        d = torch.empty(100, dtype=torch.uint8)
        del c, d
    assert live.peak == 1500
    assert live.alive == 0
    with Waits() as found:
        flags = torch.tensor([True, False])
        torch.nonzero(flags)
        bool(flags.any())
        flags.to("meta")
    assert found.found == ["nonzero", "_local_scalar_dense", "_to_copy"]
