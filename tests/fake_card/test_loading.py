"""Weights on their way to a GPU that is not there: while one is copied, the next is read, and nobody waits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.fake_card.card import TESTED, is_tested
from benchmarks.fake_card.notes import Wait
from tests.fake_card.runs import run
from wan2.models.fp8 import FP8
from wan2.weights import reader
from wan2.weights.header import read_header
from wan2.weights.reader import TensorReader
from wan2.weights.sources import Source

pytestmark = pytest.mark.skipif(not is_tested(), reason=f"the fake card is written for PyTorch {TESTED}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A weight in bfloat16, and one in fp8 with its scale."""
    tensors = {"plain": torch.ones(32, 32).bfloat16(), "held": torch.ones(32, 32).to(FP8), "scale": torch.ones(32)}
    save_file(tensors, tmp_path / "file.safetensors")
    return tmp_path / "file.safetensors"


def waits(path: Path, *faults: tuple[object, str, object]) -> list[Wait]:
    """Where the host waits while both weights are read twice."""

    def read(_: object) -> int:
        weights = TensorReader(read_header(path), torch.device("cuda"))
        for _ in range(2):
            weights.read(Source("plain"), torch.bfloat16)
            stored, scale = weights.read_fp8(Source("held", "scale"))
            assert (stored.dtype, stored.device.type, scale.shape) == (FP8, "cuda", (32, 1))
        return 0

    return run(read, [], *faults)[0].waits


def test_nobody_waits_for_what_is_copied(path: Path) -> None:
    assert waits(path) == []


def test_a_scale_that_is_looked_at_on_the_card_is_noticed(path: Path) -> None:
    as_scale = reader.as_scale
    assert waits(path, (reader, "as_scale", lambda stored: as_scale(stored.to("cuda")))) != []
