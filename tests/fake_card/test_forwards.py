"""Forwards of the published width on a GPU that is not there: no wait in a layer, memory as forecast."""

from __future__ import annotations

from itertools import product

import pytest

from benchmarks.fake_card.card import TESTED, fake_card, is_tested
from benchmarks.fake_card.forwards import Forward

pytestmark = pytest.mark.skipif(not is_tested(), reason=f"the fake card is written for PyTorch {TESTED}")

# The timestep's waves, and once a clip the angles, go to the card.
MAY_WAIT = ("wan2/models/rope.py", "wan2/models/transformer.py")


@pytest.mark.parametrize(("sparse", "fp8"), list(product((True, False), ("", "scaled", "fast"))))
def test_a_forward(sparse: bool, fp8: str) -> None:
    step = Forward(sparse, frames=81, shots=3, fp8=fp8)  # type: ignore[arg-type]
    with fake_card() as notes:
        model = step.model()
        notes.restart()
        velocities = step.run(model)
        assert {(tuple(v.shape), v.device.type) for v in velocities} == {((1, 16, 21, 60, 104), "cuda")}
    assert [wait for wait in notes.waits if not wait.line.startswith(MAY_WAIT)] == []
    assert len(notes.waits) <= 3
    assert notes.kernels["_scaled_mm"] == 0 or fp8 == "fast"
