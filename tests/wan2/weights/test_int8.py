"""Transformers and text encoders in int8, turned or not, against files of the same values in fp32: the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.refused import refused
from tests.wan2.int8_files import hadamard, in_int8, turned, value_of
from tests.wan2.lora_files import comfy, draw, write_lora
from tests.wan2.reference import CONFIG, DATA
from tests.wan2.weights.test_fp8_weights import CPU, same, velocities
from wan2.models.int8 import FastInt8Linear, Int8Linear, turned_back
from wan2.run.text_encoder import load_text_encoder
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.streaming.residency import weight_bytes
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.fp8 import LowBit, linears
from wan2.weights.held import held_weights
from wan2.weights.sources import Lora

HIGH, T5 = DATA / "dit_high_noise.safetensors", DATA / "t5.safetensors"
HEADS = {"num_heads": str(CONFIG.num_heads)}
NAMES = [f"blocks.{index}.{name}" for index in range(CONFIG.num_layers) for name in linears(CONFIG)]
NAMES += ["text_embedding.2.weight"]
GROUP = 16
LAYER = "blocks.1.ffn.0"


def both(folder: Path, group: int = 0, rows: bool = True) -> tuple[Path, Path]:
    """A file in int8, and its values in fp32."""
    tensors = load_file(HIGH)
    int8, values = dict(tensors), dict(tensors)
    for name in NAMES:
        stored = in_int8(name, tensors[name], group, rows)
        int8 |= stored
        values[name] = value_of(name, stored, group)
    save_file(int8, folder / "int8.safetensors", HEADS)
    save_file(values, folder / "values.safetensors", HEADS)
    return folder / "int8.safetensors", folder / "values.safetensors"


@pytest.mark.parametrize("group", [4, 16, 64, 256])
def test_groups_are_turned_back_by_the_matrix(group: int) -> None:
    assert torch.equal(hadamard(group) @ hadamard(group), torch.eye(group, dtype=torch.float64))
    numbers = torch.randint(-127, 128, (5, 3 * group), dtype=torch.int8)
    assert torch.equal(turned_back(numbers.float(), group).double(), turned(numbers, group) * group**0.5)


@pytest.mark.parametrize(("group", "rows"), [(0, True), (0, False), (GROUP, True)], ids=["rows", "one", "turned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_computes_what_its_values_give(tmp_path: Path, group: int, rows: bool, dtype: torch.dtype) -> None:
    file, values = (inspect_transformer(path) for path in both(tmp_path, group, rows))
    model, expected = load_transformer(file, CPU, dtype), velocities(load_transformer(values, CPU, dtype))
    assert sum(isinstance(module, Int8Linear) for module in model.modules()) == len(NAMES) - 1
    assert same(velocities(model), expected)
    with transformers([Phase("high", file, 1)], Placement(CPU, dtype, streamed=CONFIG.num_layers)) as load:
        assert same(velocities(load("high")), expected)
    predicted = weight_bytes(file.config, dtype.itemsize, held_weights(file, quantise=False))
    assert sum(parameter.nbytes for parameter in model.parameters()) == predicted.on_device(0)


@pytest.mark.parametrize("group", [0, GROUP], ids=["plain", "turned"])
def test_products_in_int8_are_near_and_the_same_streamed(tmp_path: Path, group: int) -> None:
    file = inspect_transformer(both(tmp_path, group)[0])
    fast = LowBit(fast=frozenset({"int8"}))
    usual = velocities(load_transformer(file, CPU, torch.float32))
    model = load_transformer(file, CPU, torch.float32, fast)
    found = velocities(model)
    assert sum(isinstance(module, FastInt8Linear) for module in model.modules()) == len(NAMES) - 1
    assert not same(found, usual)
    assert all((a - b).norm() < 0.03 * b.norm() for a, b in zip(found, usual, strict=True))
    with transformers([Phase("high", file, 1)], Placement(CPU, torch.float32, fast, CONFIG.num_layers)) as load:
        assert same(velocities(load("high")), found)


def test_one_note_for_the_whole_file_says_the_same(tmp_path: Path) -> None:
    path, values = both(tmp_path, GROUP)
    tensors = {name: tensor for name, tensor in load_file(path).items() if not name.endswith(".comfy_quant")}
    told = {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": GROUP}
    note = json.dumps({"format_version": "1.0", "layers": {name.removesuffix(".weight"): told for name in NAMES}})
    save_file(tensors, path, HEADS | {"_quantization_metadata": note})
    model, expected = (load_transformer(inspect_transformer(p), CPU, torch.float32) for p in (path, values))
    assert same(velocities(model), velocities(expected))


@pytest.mark.parametrize("group", [0, GROUP], ids=["plain", "turned"])
def test_a_lora_is_merged_into_its_values(tmp_path: Path, group: int) -> None:
    lora = Lora(write_lora(tmp_path / "lora.safetensors", comfy(draw(CONFIG))), 0.7)
    model, expected = (
        load_transformer(inspect_transformer(path, [lora]), CPU, torch.float32) for path in both(tmp_path, group)
    )
    assert same(velocities(model), velocities(expected))


def test_what_is_missing_or_not_read_is_refused(tmp_path: Path) -> None:
    path, _ = both(tmp_path, GROUP)
    sound = load_file(path)
    mark, scale = f"{LAYER}.comfy_quant", f"{LAYER}.weight_scale"

    def said(text: str) -> Tensor:
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    cases = {
        rf"{LAYER}.weight has the dtype I8, which is not a float": {scale: None},
        r"is int8 of the format 'int8_blockwise'; int8_tensorwise is read": {
            mark: said('{"format": "int8_blockwise"}')
        },
        r"\[192, 96\] cannot be turned in groups of 64": {
            mark: said('{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 64}')
        },
        rf"its {mark}: cannot be read": {mark: said("{not json")},
        rf"its {mark} is not a table": {mark: said("[1]")},
    }
    for pattern, changes in cases.items():
        tensors = {name: tensor for name, tensor in (sound | changes).items() if tensor is not None}
        save_file(tensors, path, HEADS)
        with refused(pattern):
            inspect_transformer(path)


def test_a_mark_that_is_dropped_changes_what_comes_out(tmp_path: Path) -> None:
    path, values = both(tmp_path, GROUP)
    tensors = load_file(path)
    del tensors[f"{LAYER}.comfy_quant"]
    save_file(tensors, path, HEADS)
    model, expected = (load_transformer(inspect_transformer(p), CPU, torch.float32) for p in (path, values))
    assert not same(velocities(model), velocities(expected))


@pytest.mark.parametrize("group", [0, GROUP], ids=["plain", "turned"])
def test_a_text_encoder_gives_what_its_values_give(tmp_path: Path, group: int) -> None:
    tensors = load_file(T5)
    int8, values = dict(tensors), dict(tensors)
    for name in tensors:
        if name.startswith("token") or ".attn." in name or ".ffn." in name:
            stored = in_int8(name, tensors[name], group)
            int8 |= stored
            values[name] = value_of(name, stored, group)
    save_file(int8, tmp_path / "int8.safetensors")
    save_file(values, tmp_path / "values.safetensors")
    for dtype in (torch.float32, torch.bfloat16):
        encoder = load_text_encoder(tmp_path / "int8.safetensors", CPU, dtype)
        expected = load_text_encoder(tmp_path / "values.safetensors", CPU, dtype).run([[5, 9, 77, 1]])
        assert sum(isinstance(module, Int8Linear) for module in encoder.model.modules()) == 14
        assert torch.equal(encoder.run([[5, 9, 77, 1]])[0], expected[0])
