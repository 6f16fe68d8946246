"""Fused kernels compute what the plain operators compute, by Triton's interpreter; and when they are used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from wan2.models import fused

ROOT = Path(__file__).parents[3]
CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def apart() -> dict[str, float]:
    """By case: how far fused is from plain."""
    if find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fused_cases"],
        env=os.environ | {"TRITON_INTERPRET": "1"}, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def test_values_are_those_of_the_plain_operators_within_a_step(apart: dict[str, float]) -> None:
    near = {name: steps for name, steps in apart.items() if "bfloat16" in name}
    assert len(near) == 4 and max(near.values()) <= 1
    exact = {name: steps for name, steps in apart.items() if "float32" in name and "beside" not in name}
    assert len(exact) == 3 and max(exact.values()) <= 32  # sums in another order


def test_only_the_given_memory_is_written(apart: dict[str, float]) -> None:
    assert [steps for name, steps in apart.items() if "beside" in name] == [0.0, 0.0]


def test_rows_are_quantised_to_the_same_bits(apart: dict[str, float]) -> None:
    assert apart["quantised, bf16"] == apart["quantised, fp32"] == apart["rows that are not finite"] == 0
    assert apart["GELU, quantised, of the largest"] <= 1 / 8


def test_a_block_is_the_same_within_a_step(apart: dict[str, float]) -> None:
    assert apart["a block, bf16"] <= 1
    assert apart["a block, fp8 products"] <= 16


def test_where_they_cannot_be_used_a_word_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fused.cannot_fuse(torch.device("cpu"), torch.float32) == "it needs a GPU and Triton"
    monkeypatch.setattr(fused, "_try", lambda *_: (_ for _ in ()).throw(RuntimeError("no C compiler\nfound")))
    assert fused.cannot_fuse(CUDA, torch.bfloat16) == "RuntimeError: no C compiler found"
    monkeypatch.setattr(fused, "_try", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        fused.cannot_fuse(CUDA, torch.bfloat16)
    monkeypatch.setattr(fused, "find_spec", lambda _: None)
    assert fused.cannot_fuse(CUDA, torch.bfloat16) != ""
