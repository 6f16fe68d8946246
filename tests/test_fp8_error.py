"""The benchmark of fp8's error on the miniature, and its figures against what rounding can do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks import fp8_error, fp8_pictures
from holocine_ext.presets import MODELS
from tests.wan2.fp8_files import needs_product
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.fp8 import quantised

NANO = MODELS["nano"]["full"].model.expert("high").path


def test_every_weight_loses_what_three_bits_of_mantissa_lose() -> None:
    file = inspect_transformer(NANO)
    errors = fp8_error.weight_errors(file, quantised(file.config))
    assert errors.keys() == quantised(file.config) and len(errors) == 20
    assert all(0.02 < error < 0.03 for error in errors.values())


@needs_product
def test_the_table_has_a_row_a_block_and_a_way_of_computing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fp8_error", str(NANO), "--fast", "--latents", "1", "4", "4", "--text", "16", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", words)
    assert fp8_error.main() == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines() if re.match(r" +\d  ", line)] == list("012345")
    for row in ("float32", "--fp8_scaled", "--fp8_fast"):
        cells = next(line for line in text.splitlines() if line.startswith(row)).split()[1:]
        assert len(cells) == 6
        assert all(0 < float(error) < 10 for error in cells[::2])
        assert all(0.99 < float(cosine) <= 1 for cosine in cells[1::2])


def test_a_file_without_anything_to_quantise_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three = Path(__file__).parent / "data/dit_high_noise.safetensors"
    monkeypatch.setattr("sys.argv", ["fp8_error", str(three), "--device", "cpu"])
    assert fp8_error.main() == 2
    assert capsys.readouterr().err.startswith(f"benchmarks.fp8_error: {three}: ")


def test_measures_of_difference() -> None:
    a = torch.tensor([3.0, 4.0])
    assert fp8_error.relative(a, a) == 0 and fp8_error.relative(a * 1.5, a) == pytest.approx(0.5)
    assert fp8_error.cosine(a, 2 * a) == pytest.approx(1) and fp8_error.cosine(a, a.flip(0)) == pytest.approx(0.96)
    film = torch.zeros(2, 4, 4, 3, dtype=torch.uint8).numpy()
    assert fp8_pictures.psnr([film], [film]) == float("inf")
    assert fp8_pictures.psnr([film + 1], [film]) == pytest.approx(48.13, abs=0.01)
