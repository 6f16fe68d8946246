"""The check of a machine on a GPU that is not there: fused kernels are timed, memory is held to its forecast."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.fake_card.card import TESTED, is_tested
from benchmarks.fake_card.forwards import put_on_card
from holocine_ext.check import speed
from holocine_ext.check.findings import Finding
from tests.fake_card.runs import run
from wan2.models.config import A14B
from wan2.models.transformer import WanTransformer
from wan2.run.machine import Machine

pytestmark = pytest.mark.skipif(not is_tested(), reason=f"the fake card is written for PyTorch {TESTED}")


def findings() -> list[Finding]:
    """What is found of a block."""
    found: list[Finding] = []

    def check(_: object) -> int:
        found.extend(speed.block(Machine(torch.device("cuda"), torch.bfloat16)))
        return 0

    run(check, [], (speed, "_block", on_card))
    return found


def on_card(_: Machine) -> WanTransformer:
    """The block without numbers."""
    with torch.device("meta"):
        model = WanTransformer(speed.BLOCK)
    put_on_card(model)
    return model


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block a fifth as wide, a few hundred tokens."""
    narrow = replace(A14B, num_layers=1, dim=1024, ffn_dim=2816, num_heads=8)
    monkeypatch.setattr(speed, "BLOCK", narrow)
    monkeypatch.setattr(speed, "LARGE", speed.LARGE._replace(repeats=1, frames=9, shots=2, tokens_per_frame=1560))


def test_a_block_is_timed_as_a_run_uses_it_and_held_to_its_forecast() -> None:
    groups = [finding.group for finding in findings()]
    rates = [speed.TRUE_WIDTH, "the same without fused kernels"] * 2
    assert groups == [*rates, *["fused kernels and plain ones", "memory"] * 2]
    memory = [finding for finding in findings() if finding.group == "memory"]
    assert all(finding.right and "GB forecast" in finding.words for finding in memory)


def test_more_memory_than_forecast_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "CUDA_WORKSPACES", 0)
    monkeypatch.setattr(speed, "transformer_bytes", lambda memory: memory.transformer / 2)
    assert [finding.right for finding in findings() if finding.group == "memory"] == [False, False]
