"""Forwards of the published width on a GPU that is not there: no wait in a layer, memory that the forecast covers."""

from __future__ import annotations

import math

import pytest

from benchmarks.allocator import least
from benchmarks.fake_card.card import TESTED, fake_card, is_tested
from benchmarks.fake_card.forwards import Forward
from benchmarks.replay import ALLOWED, OF_CUDA, Scene, weights
from benchmarks.traffic import count
from wan2.models.config import A14B
from wan2.plan.budget import device_bytes
from wan2.weights.fp8 import linears

pytestmark = pytest.mark.skipif(not is_tested(), reason=f"the fake card is written for PyTorch {TESTED}")

# The timestep's waves, and once a clip the angles, go to the card.
MAY_WAIT = ("wan2/models/rope.py", "wan2/models/transformer.py")


CASES = [(True, "", True), (True, "scaled", True), (True, "fast", True), (False, "", True), (True, "fast", False)]


@pytest.mark.parametrize(("sparse", "fp8", "fused"), CASES)
def test_a_forward(sparse: bool, fp8: str, fused: bool) -> None:
    step = Forward(sparse, frames=81, shots=3, fp8=fp8, fused=fused)  # type: ignore[arg-type]
    scene = Scene("", sparse, 81, 3, settings=((f"fp8_{fp8}", True),) if fp8 else ())
    request = scene.request(blocks_to_swap=A14B.num_layers)
    with fake_card() as notes:
        model = step.model()
        notes.restart()
        velocities = step.run(model)
        memory = tuple(notes.memory)
        assert {(tuple(v.shape), v.device.type) for v in velocities} == {((1, 16, 21, 60, 104), "cuda")}
    assert [wait for wait in notes.waits if not wait.line.startswith(MAY_WAIT)] == []
    assert len(notes.waits) <= 3
    assert notes.kernels["_scaled_mm"] == 0 or fp8 == "fast"
    assert (notes.kernels["norm_modulated"] > 0) == fused
    survives = least(memory, weights(scene.work(request), A14B.num_layers, request.compute.fast)) + OF_CUDA
    assert 1 <= device_bytes(request, scene.work(request), "transformer") / survives <= ALLOWED


@pytest.mark.parametrize(("fused", "mark"), [(False, 5.0e12), (True, 2.6e12)])
def test_bytes_between_the_products_keep_their_mark(fused: bool, mark: float) -> None:
    assert count(Forward(sparse=True, fused=fused)).elementwise <= mark


def test_a_weight_in_fp8_is_converted_once_a_layer_and_pass() -> None:
    scaled, plain = (count(Forward(True, 81, 3, fp8=fp8, fused=True)) for fp8 in ("scaled", ""))
    converted = 7 * sum(math.prod(A14B.block_shapes()[name]) for name in linears(A14B))
    assert scaled.elementwise - plain.elementwise <= 1.01 * 2 * A14B.num_layers * converted
