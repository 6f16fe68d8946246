"""A transformer's turn that ends before all its passes: the next one finds its blocks, in the right places."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.wan2.reference import DATA, TENSORS
from wan2.models.conditioning import Conditioning
from wan2.streaming import phases as phases_module
from wan2.streaming import ring as stream
from wan2.streaming.copies import HostCopyStream
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.weights.checkpoint import inspect_transformer, load_transformer

CPU = torch.device("cpu")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name in ("high", "low"):
        save_file(load_file(DATA / f"dit_{name}_noise.safetensors"), tmp_path / name, {"num_heads": "4"})
    return {name: tmp_path / name for name in ("high", "low")}


def velocity(model: torch.nn.Module) -> Tensor:
    with torch.inference_mode():
        return model(TENSORS["1.latents"], torch.tensor(875.0), Conditioning(TENSORS["1.context"]))


@pytest.mark.parametrize("places", [0, 2, 3])
@pytest.mark.parametrize("taken", [0, 1, 2])
def test_the_next_transformer_is_right_whatever_the_one_before_left(
    files: dict[str, Path], taken: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "copy_stream", lambda *_: HostCopyStream())
    monkeypatch.setattr(phases_module, "staging_buffers", lambda *_: places)
    phases = [Phase("high", inspect_transformer(files["high"]), 5), Phase("low", inspect_transformer(files["low"]), 3)]
    with transformers(
        phases, Placement(CPU, torch.float32, streamed=3, weights_from="ram" if places == 3 else "disk")
    ) as load:
        for name, passes in (("high", taken), ("low", 3)):
            model, expected = (
                load(name),
                velocity(load_transformer(inspect_transformer(files[name]), CPU, torch.float32)),
            )
            for _ in range(passes):
                assert torch.equal(velocity(model), expected)


def test_what_is_left_of_a_turn_is_not_read(files: dict[str, Path]) -> None:
    phases = [
        Phase("high", inspect_transformer(files["high"]), 1000),
        Phase("low", inspect_transformer(files["low"]), 1),
    ]
    with transformers(phases, Placement(CPU, torch.float32, streamed=3)) as load:
        high = load("high")
        velocity(high)
        read = high.file.bytes_read  # type: ignore[union-attr]
        velocity(load("low"))
        assert high.file.bytes_read <= read * 2  # type: ignore[union-attr]
