"""Transformers with linears in fp8: which, how they get there, resident or streamed, from any file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.wan2.fp8_files import SIX, needs_product, scaled, six_blocks, write
from tests.wan2.reference import CASES, TENSORS, windows
from wan2.errors import InputError, RunError
from wan2.models.conditioning import Conditioning
from wan2.models.config import A14B
from wan2.models.forms import as_fp8
from wan2.models.fp8 import FP8, FastFp8Linear, Fp8Linear, multiply_out, quantise_rows
from wan2.streaming import phases as phases_module
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.streaming.residency import RING_BLOCKS, weight_bytes
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.fp8 import AS_STORED, LowBit, linears, quantised
from wan2.weights.held import held_weights
from wan2.weights.scales import check_scales

CPU = torch.device("cpu")
PASSES = [Conditioning(TENSORS["1.context"], cross_attn=windows(CASES["cases"][1])), Conditioning(TENSORS["0.context"])]
SCALED, FAST = LowBit(quantise=True), LowBit(quantise=True, fast=frozenset({"fp8"}))
TENTH = "blocks.2.ffn.0"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A high-noise expert in bfloat16, a low-noise one in scaled fp8."""
    return {
        "high": write(tmp_path / "high.safetensors", six_blocks("high")),
        "low": write(tmp_path / "low.safetensors", scaled(six_blocks("low"))),
    }


def velocities(model: torch.nn.Module, timestep: float = 875.0) -> list[Tensor]:
    with torch.inference_mode():
        return model.passes(TENSORS["1.latents"], torch.tensor(timestep), PASSES)  # type: ignore[operator]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def fp8_linears(model: torch.nn.Module) -> dict[str, Fp8Linear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Fp8Linear)}


def test_the_ends_and_everything_but_linears_are_left_alone(files: dict[str, Path]) -> None:
    model = load_transformer(inspect_transformer(files["high"]), CPU, torch.bfloat16, SCALED)
    expected = {f"blocks.{i}.{name.removesuffix('.weight')}" for i in (2, 3) for name in linears(SIX)}
    assert fp8_linears(model).keys() == expected and len(linears(SIX)) == 10
    stored = load_file(files["high"])
    for name, parameter in model.named_parameters():
        if name.endswith(".stored"):
            scale = model.get_parameter(name.replace(".stored", ".scale"))
            values = quantise_rows(stored[name.replace(".stored", ".weight")])
            assert parameter.dtype == FP8 and torch.equal(parameter.float(), values.values.float())
            assert torch.equal(scale, values.scale)
        elif not name.endswith(".scale"):
            assert parameter.dtype == torch.bfloat16 and torch.equal(parameter, stored[name])
    assert len(quantised(A14B)) == 36 * 10
    assert not [name for name in quantised(A14B) if name.split(".")[1] in ("0", "1", "38", "39")]


@pytest.mark.parametrize("noise", ["high", "low"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_computes_what_the_weights_multiplied_out_give(
    files: dict[str, Path], noise: str, dtype: torch.dtype
) -> None:
    model = load_transformer(inspect_transformer(files[noise]), CPU, dtype, SCALED)
    plain = load_transformer(inspect_transformer(files["high"]), CPU, dtype)
    state = model.state_dict()
    for name in fp8_linears(model):
        state[f"{name}.weight"] = multiply_out(state.pop(f"{name}.stored"), state.pop(f"{name}.scale"), dtype)
    plain.load_state_dict(state)
    assert same(velocities(model), velocities(plain))


@needs_product
def test_the_error_stays_small(files: dict[str, Path]) -> None:
    exact = load_transformer(inspect_transformer(files["high"]), CPU, torch.float32)
    for fp8, allowed in ((SCALED, 0.02), (FAST, 0.04)):
        for out, expected in zip(
            velocities(load_transformer(inspect_transformer(files["high"]), CPU, torch.float32, fp8)),
            velocities(exact),
            strict=True,
        ):
            error = (out - expected).norm() / expected.norm()
            assert 0 < error < allowed


@pytest.mark.parametrize("weights_from", ["disk", "ram"])
@pytest.mark.parametrize(
    "fp8", [AS_STORED, SCALED, pytest.param(FAST, marks=needs_product)], ids=["stored", "scaled", "fast"]
)
@pytest.mark.parametrize("streamed", [1, 3, 6])
def test_streamed_is_resident_bit_for_bit(
    files: dict[str, Path], streamed: int, weights_from: str, fp8: LowBit
) -> None:
    phases = [Phase("high", inspect_transformer(files["high"]), 2), Phase("low", inspect_transformer(files["low"]), 1)]
    with transformers(phases, Placement(CPU, torch.bfloat16, fp8, streamed, weights_from)) as load:
        for name, count in (("high", 2), ("low", 1)):
            resident, model = load_transformer(inspect_transformer(files[name]), CPU, torch.bfloat16, fp8), load(name)
            assert all(same(velocities(model, at), velocities(resident, at)) for at in (999.0, 900.0)[:count])


@pytest.mark.parametrize("places", [2, 6])
def test_blocks_of_many_sizes_go_through_the_places_of_the_host(
    files: dict[str, Path], places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases_module, "staging_buffers", lambda *_: places)
    resident = load_transformer(inspect_transformer(files["high"]), CPU, torch.bfloat16, SCALED)
    with transformers(
        [Phase("high", inspect_transformer(files["high"]), 3)], Placement(CPU, torch.bfloat16, SCALED, 6, "ram")
    ) as load:
        model = load("high")
        assert all(same(velocities(model), velocities(resident)) for _ in range(3))


@pytest.mark.parametrize("rows", [False, True], ids=["a tensor", "a row"])
def test_a_file_in_fp8_is_used_as_it_is(tmp_path: Path, rows: bool) -> None:
    tensors = scaled(six_blocks("high"), rows)
    path = write(tmp_path / "fp8.safetensors", tensors)
    for fp8 in (AS_STORED, SCALED):
        found = fp8_linears(load_transformer(inspect_transformer(path), CPU, torch.bfloat16, fp8))
        assert len(found) == 60
        for name, linear in found.items():
            assert torch.equal(linear.stored.view(torch.uint8), tensors[f"{name}.weight"].view(torch.uint8))
            assert torch.equal(linear.scale, tensors[f"{name}.scale_weight"].expand(len(linear.scale), 1))
            assert linear.scale.is_contiguous()
    fast = fp8_linears(load_transformer(inspect_transformer(path), CPU, torch.bfloat16, FAST)).values()
    assert all(isinstance(linear, FastFp8Linear) for linear in fast)


def test_fp8_without_any_scale_is_used_as_it_is_too(tmp_path: Path) -> None:
    tensors = six_blocks("high")
    names = [f"blocks.{index}.{name}" for index in range(6) for name in linears(SIX)]
    path = write(tmp_path / "cast.safetensors", tensors | {name: tensors[name].to(FP8) for name in names})
    model = load_transformer(inspect_transformer(path), CPU, torch.float32)
    assert len(fp8_linears(model)) == 60
    assert all((linear.scale == 1).all() for linear in fp8_linears(model).values())


def test_the_other_fp8_is_multiplied_out_or_quantised(tmp_path: Path) -> None:
    tensors = scaled(six_blocks("high"), dtype=torch.float8_e5m2)
    path = write(tmp_path / "e5m2.safetensors", tensors)
    model = load_transformer(inspect_transformer(path), CPU, torch.float32)
    assert not fp8_linears(model)
    expected = tensors[f"{TENTH}.weight"].float() * tensors[f"{TENTH}.scale_weight"]
    assert torch.equal(model.get_parameter(f"{TENTH}.weight"), expected)
    found = fp8_linears(load_transformer(inspect_transformer(path), CPU, torch.float32, SCALED))
    assert len(found) == 20 and torch.equal(found[TENTH].scale, quantise_rows(expected).scale)


def test_fewer_bytes_are_read_of_a_file_in_fp8(files: dict[str, Path]) -> None:
    read = {}
    for name, path in files.items():
        with transformers(
            [Phase(name, inspect_transformer(path), 1)], Placement(CPU, torch.bfloat16, streamed=6)
        ) as load:
            model = load(name)
            velocities(model)
            read[name] = model.file.bytes_read  # type: ignore[attr-defined]
    assert 0.5 < read["low"] / read["high"] < 0.53


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.0"), (float("nan"), "nan"), (float("inf"), "inf"), (-1.0, "-1.0")]
)
def test_a_broken_scale_is_refused(tmp_path: Path, value: float, shown: str, dtype: torch.dtype) -> None:
    tensors = scaled(six_blocks("high"), rows=True)
    name = f"{TENTH}.scale_weight"
    tensors[name] = tensors[name].to(dtype)
    path = write(tmp_path / "fp8.safetensors", tensors)
    file = inspect_transformer(path)
    check_scales(file.header, file.sources)
    tensors[name][3] = value
    file = inspect_transformer(write(path, tensors))
    with pytest.raises(
        InputError, match=rf"fp8.safetensors: scale {name} holds {shown}; it must be finite and above 0"
    ):
        check_scales(file.header, file.sources)
    with pytest.raises(InputError, match=rf"fp8.safetensors: scale {name} must be finite and above 0"):
        load_transformer(inspect_transformer(path), CPU, torch.float32)


def test_weights_that_are_not_finite_cannot_be_quantised(tmp_path: Path) -> None:
    tensors = six_blocks("high")
    tensors["blocks.3.cross_attn.o.weight"][5, 7] = float("nan")
    path = write(tmp_path / "high.safetensors", tensors)
    line = r"high.safetensors: tensor blocks.3.cross_attn.o.weight holds values that are not finite"
    with pytest.raises(InputError, match=line):
        load_transformer(inspect_transformer(path), CPU, torch.float32, SCALED)
    with (
        pytest.raises(RunError, match=rf"^reading block 3 failed: .*{line}"),
        transformers(
            [Phase("high", inspect_transformer(path), 1)], Placement(CPU, torch.float32, SCALED, 6, "disk")
        ) as load,
    ):
        velocities(load("high"))


def test_what_weights_weigh(files: dict[str, Path]) -> None:
    for name, fp8 in (("high", SCALED), ("low", AS_STORED), ("high", AS_STORED)):
        model = load_transformer(inspect_transformer(files[name]), CPU, torch.bfloat16, fp8)
        held = sum(parameter.nbytes for parameter in model.parameters())
        weights = weight_bytes(SIX, 2, held_weights(inspect_transformer(files[name]), fp8.quantise))
        assert held == weights.on_device(0) == weights.others + sum(weights.blocks)
    plain, small = weight_bytes(A14B, 2), weight_bytes(A14B, 2, as_fp8(quantised(A14B)))
    assert plain.on_device(0) == pytest.approx(28.6e9, rel=0.01)
    assert small.on_device(0) == pytest.approx(16.0e9, rel=0.01)
    assert small.on_device(40) == small.others + RING_BLOCKS * max(small.blocks)
    assert small.on_host(40, from_ram=True) == sum(small.blocks) and small.on_host(0, from_ram=False) == 0


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@on_a_gpu
@pytest.mark.parametrize("weights_from", ["disk", "ram"])
@pytest.mark.parametrize("fp8", [AS_STORED, SCALED, FAST], ids=["stored", "scaled", "fast"])
@pytest.mark.parametrize("streamed", [1, 3, 6])
def test_on_a_gpu_streamed_is_resident_bit_for_bit(
    files: dict[str, Path], streamed: int, weights_from: str, fp8: LowBit
) -> None:
    device = torch.device("cuda")
    if fp8.fast and torch.cuda.get_device_capability(device) < (8, 9):
        pytest.skip("multiplies no fp8")
    given = [Conditioning(TENSORS["1.context"].to(device))] * 2
    latents, timestep = TENSORS["1.latents"].to(device), torch.tensor(875.0, device=device)
    phases = [Phase("high", inspect_transformer(files["high"]), 2), Phase("low", inspect_transformer(files["low"]), 2)]
    with (
        torch.inference_mode(),
        transformers(phases, Placement(device, torch.bfloat16, fp8, streamed, weights_from)) as load,
    ):
        for name in files:
            resident, model = (
                load_transformer(inspect_transformer(files[name]), device, torch.bfloat16, fp8),
                load(name),
            )
            for _ in range(2):
                assert same(model.passes(latents, timestep, given), resident.passes(latents, timestep, given))


@on_a_gpu
def test_a_gpu_rounds_to_the_bits_of_the_processor(files: dict[str, Path]) -> None:
    one, other = (
        load_transformer(inspect_transformer(files["high"]), device, torch.bfloat16, SCALED)
        for device in ("cpu", "cuda")
    )
    for name, linear in fp8_linears(one).items():
        there = fp8_linears(other)[name]
        assert torch.equal(linear.stored.view(torch.uint8), there.stored.cpu().view(torch.uint8))
        assert torch.equal(linear.scale, there.scale.cpu())
