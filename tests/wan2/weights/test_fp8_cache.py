"""The fp8 weights kept beside a checkpoint: made once, used again, never when they are another's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.refused import FLAGS
from tests.wan2.fp8_files import SIX, scaled, six_blocks, write
from tests.wan2.weights.test_fp8_weights import same, velocities
from wan2.cli.flags import spelled
from wan2.errors import InputError
from wan2.events import Noted, StageBegan
from wan2.plan.files import Files
from wan2.request.flat import make_request
from wan2.request.model import Noise
from wan2.request.presets import WAN22_T2V
from wan2.run.models import Models
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.fp8 import LowBit, fp8_weights, quantised
from wan2.weights.fp8_cache import cache_layout, cache_path, gains_by_cache, layout_bytes, look_for_cache, write_cache
from wan2.weights.sources import TransformerFile

CPU = torch.device("cpu")
QUANTISED = LowBit(quantise=True)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write(tmp_path / "high.safetensors", six_blocks("high"))


def keep(high: Path, low: Path) -> tuple[list[str], Path]:
    """What a person is shown, and which file is used in the place of `high`."""
    request = make_request(
        WAN22_T2V, {"prompt": "-", "fp8_scaled": True, "fp8_cache": True, "dit_high_noise": high, "dit_low_noise": low}
    )
    files = Files()
    experts: dict[Noise, TransformerFile] = {
        e.noise: files.transformer(request.model, e) for e in request.model.experts
    }
    shown, kept = list[str](), dict[Noise, TransformerFile]()
    for found in Models(request.model, request.compute).kept_fp8(experts, files, plan=0):
        if isinstance(found, Noted):
            shown.append(spelled(found.text, FLAGS))
        elif isinstance(found, StageBegan):
            shown.append(f"Writing {found.of}")
        elif isinstance(found, tuple):
            kept |= [found]
    assert kept["high"].loras == () and kept["low"] is experts["low"]
    return shown, kept["high"].path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float16], ids=str)
def test_what_is_kept_is_what_would_be_made(tmp_path: Path, dtype: torch.dtype) -> None:
    checkpoint = write(tmp_path / "high.safetensors", six_blocks("high"), dtype)
    write_cache(inspect_transformer(checkpoint))
    kept = inspect_transformer(cache_path(checkpoint))
    assert fp8_weights(kept, quantise=False) == quantised(SIX)
    assert kept.header.metadata["num_heads"] == "4" and kept.header.metadata["made_by"] == "a test"
    for compute in (torch.float32, torch.bfloat16):
        made = load_transformer(inspect_transformer(checkpoint), CPU, compute, QUANTISED)
        found = load_transformer(inspect_transformer(cache_path(checkpoint)), CPU, compute)
        assert made.state_dict().keys() == found.state_dict().keys()
        for name, tensor in found.state_dict().items():
            assert torch.equal(tensor.float(), made.state_dict()[name].float()), name
        assert same(velocities(made), velocities(found))


def test_other_programs_find_what_they_know(checkpoint: Path) -> None:
    write_cache(inspect_transformer(checkpoint))
    stored, original = load_file(cache_path(checkpoint)), load_file(checkpoint)
    assert stored.keys() == original.keys() | {n.replace("weight", "scale_weight") for n in quantised(SIX)}
    for name in quantised(SIX):
        scale: Tensor = stored[name.replace("weight", "scale_weight")]
        assert scale.dtype == torch.float32 and scale.shape == (stored[name].shape[0], 1)
        error = (stored[name].float() * scale - original[name].float()).norm() / original[name].float().norm()
        assert error < 0.03
    size = cache_path(checkpoint).stat().st_size
    assert 0 <= size - layout_bytes(cache_layout(inspect_transformer(checkpoint))) < 40_000


def test_scaled_and_bare_fp8_outside_the_linears_is_kept_in_float32(tmp_path: Path) -> None:
    tensors = six_blocks("high")
    name = "time_projection.1.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    for extra in ({}, {name.replace("weight", "scale_weight"): torch.tensor(0.3)}):
        checkpoint = write(tmp_path / "high.safetensors", tensors | extra)
        write_cache(inspect_transformer(checkpoint))
        made, found = (
            load_transformer(inspect_transformer(p), CPU, torch.bfloat16, QUANTISED)
            for p in (checkpoint, cache_path(checkpoint))
        )
        assert torch.equal(made.get_parameter(name), found.get_parameter(name))


def test_made_once_then_used(checkpoint: Path, tmp_path: Path) -> None:
    low = write(tmp_path / "low.safetensors", scaled(six_blocks("low")))
    path = cache_path(checkpoint)
    assert keep(checkpoint, low) == ([f"Writing {path}"], path)
    written = path.stat().st_mtime_ns
    assert keep(checkpoint, low) == ([], path)
    assert path.stat().st_mtime_ns == written
    assert not cache_path(low).exists() and not gains_by_cache(inspect_transformer(low))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["high.fp8.safetensors", "high.safetensors", "low.safetensors"]


@pytest.mark.parametrize("change", ["content", "time", "format"])
def test_one_of_another_time_is_made_again_and_that_is_said(
    checkpoint: Path, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    low, path = write(tmp_path / "low.safetensors", scaled(six_blocks("low"))), cache_path(checkpoint)
    keep(checkpoint, low)
    if change == "content":
        times = checkpoint.stat()
        write(checkpoint, {name: tensor * 1.5 for name, tensor in six_blocks("high").items()})
        os.utime(checkpoint, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "time":
        os.utime(checkpoint, ns=(1, 1))
    else:
        monkeypatch.setattr("wan2.weights.fp8_cache.FORMAT", 2)
    assert look_for_cache(inspect_transformer(checkpoint)).state == "stale"
    shown, used = keep(checkpoint, low)
    assert shown == [f"{path} is not of the --dit_high_noise of today; it is made again", f"Writing {path}"]
    assert used == path and look_for_cache(inspect_transformer(checkpoint)).state == "good"
    made, found = (load_transformer(inspect_transformer(p), CPU, torch.float32, QUANTISED) for p in (checkpoint, path))
    assert same(velocities(made), velocities(found))


@pytest.mark.parametrize("kind", ["another's", "cut short", "words"])
def test_a_file_of_somebody_else_is_left_alone(checkpoint: Path, kind: str) -> None:
    path = cache_path(checkpoint)
    if kind == "another's":
        save_file(scaled(six_blocks("high")), path, {"num_heads": "4"})
    elif kind == "cut short":
        write_cache(inspect_transformer(checkpoint))
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.write_text("notes")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"^fp8_cache: .*high\.fp8\.safetensors is in the way"):
        look_for_cache(inspect_transformer(checkpoint))
    assert path.read_bytes() == before


def test_what_cannot_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    tensors = six_blocks("high")
    tensors["blocks.3.ffn.2.weight"][0, 0] = float("inf")
    checkpoint = write(tmp_path / "high.safetensors", tensors)
    with pytest.raises(InputError, match=r"blocks\.3\.ffn\.2\.weight holds values that are not finite"):
        write_cache(inspect_transformer(checkpoint))
    assert [path.name for path in tmp_path.iterdir()] == ["high.safetensors"]


def test_it_lies_beside_the_checkpoint_whatever_that_is(tmp_path: Path) -> None:
    for given, kept in (
        ("a.safetensors", "a.fp8.safetensors"),
        ("b.safetensors.index.json", "b.fp8.safetensors"),
        ("high_noise_model", "high_noise_model.fp8.safetensors"),
    ):
        assert cache_path(tmp_path / given) == tmp_path / kept
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder / "part.safetensors", six_blocks("high"))
    write_cache(inspect_transformer(folder))
    assert look_for_cache(inspect_transformer(folder)).state == "good" and (tmp_path / "model.fp8.safetensors").exists()
