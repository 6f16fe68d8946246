"""Transformers in the block types of GGUF, against files of the same values in fp32: the same bits, fewer bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.wan2.gguf_files import K_TYPES, LEGACY, blocks_of, packed, values_in, values_of, write_gguf
from tests.wan2.lora_files import Drawn, comfy, draw, write_lora
from tests.wan2.reference import CONFIG, DATA
from tests.wan2.weights.test_fp8_weights import CPU, same, velocities
from wan2.errors import InputError
from wan2.models import ggml
from wan2.models.forms import BLOCKS
from wan2.models.ggml import BlockLinear, multiply_out
from wan2.models.transformer import WanTransformer
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.streaming.residency import weight_bytes
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.held import held_weights
from wan2.weights.lora import with_branches
from wan2.weights.sources import Lora

HIGH = DATA / "dit_high_noise.safetensors"
# As wide as the blocks of the K types, as tests of them need it.
WIDE = replace(CONFIG, dim=256, ffn_dim=512, num_layers=2)
HEADS = {"num_heads": str(CONFIG.num_heads)}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    model = WanTransformer(replace(WIDE, num_heads=4))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def both(folder: Path, tensors: Mapping[str, Tensor], kind: str) -> tuple[Path, Path]:
    """A GGUF file of the tensors in a type, and its values in fp32."""
    made = packed(tensors, kind)
    save_file(values_in(made), folder / "values.safetensors", HEADS)
    return write_gguf(folder / "packed.gguf", made, HEADS), folder / "values.safetensors"


def held_linears(model: torch.nn.Module) -> dict[str, BlockLinear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, BlockLinear)}


@pytest.mark.parametrize("kind", BLOCKS)
def test_values_are_those_of_the_library(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = blocks_of(kind, torch.randn(8, 768))
    blocks, expected = torch.from_numpy(stored).view(-1, BLOCKS[kind].nbytes), values_of(kind, stored).flatten()
    assert torch.equal(multiply_out(blocks, kind, torch.float32), expected)
    monkeypatch.setattr(ggml, "VALUES_IN_CACHE", 1024)
    assert torch.equal(multiply_out(blocks, kind, torch.bfloat16), expected.bfloat16())


@pytest.mark.parametrize("kind", [*LEGACY, *K_TYPES])
def test_it_computes_what_its_values_give(tmp_path: Path, weights: dict[str, Tensor], kind: str) -> None:
    file, values = (inspect_transformer(path) for path in both(tmp_path, weights, kind))
    for dtype in (torch.float32, torch.bfloat16):
        model, expected = load_transformer(file, CPU, dtype), velocities(load_transformer(values, CPU, dtype))
        assert len(held_linears(model)) == 20 and same(velocities(model), expected)
        with transformers([Phase("high", file, 1)], Placement(CPU, dtype, streamed=2)) as load:
            assert same(velocities(load("high")), expected)


def test_blocks_stay_as_they_are_in_the_file(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    file = inspect_transformer(both(tmp_path, weights, "Q4_K")[0])
    model = load_transformer(file, CPU, torch.bfloat16)
    made = packed(weights, "Q4_K")
    for name, linear in held_linears(model).items():
        assert torch.equal(linear.stored, torch.from_numpy(made[f"{name}.weight"][1]))
        assert linear.weight_in(torch.float32).shape == weights[f"{name}.weight"].shape
    predicted = weight_bytes(file.config, 2, held_weights(file, quantise=False))
    assert sum(parameter.nbytes for parameter in model.parameters()) == predicted.on_device(0)
    assert sum(predicted.blocks) < 0.3 * sum(weight_bytes(file.config, 2).blocks)


def test_what_rows_do_not_suit_is_multiplied_out_as_it_is_read(tmp_path: Path) -> None:
    """A matrix of rows that are no whole blocks is written in another shape, which a note remembers."""
    tensors = load_file(HIGH)
    name = "blocks.0.self_attn.q.weight"
    made = tensors | {name: ("Q4_K", blocks_of("Q4_K", tensors[name].reshape(-1, 256)))}
    path = write_gguf(tmp_path / "a.gguf", made, HEADS, {name: (96, 96)})
    save_file(tensors | {name: values_of(*made[name]).view(96, 96)}, tmp_path / "values.safetensors", HEADS)
    file, values = inspect_transformer(path), inspect_transformer(tmp_path / "values.safetensors")
    model = load_transformer(file, CPU, torch.float32)
    assert not held_linears(model)
    assert same(velocities(model), velocities(load_transformer(values, CPU, torch.float32)))


@pytest.mark.parametrize("streamed", [0, 2])
def test_a_lora_is_merged_into_what_it_changes(tmp_path: Path, weights: dict[str, Tensor], streamed: int) -> None:
    paths = both(tmp_path, weights, "Q5_K")
    pairs = draw(WIDE).pairs
    drawn = Drawn({module: pairs[module] for module in ("blocks.0.self_attn.q", "blocks.1.ffn.0")})
    write_lora(tmp_path / "lora.safetensors", comfy(drawn))
    merged, expected = (inspect_transformer(path, [Lora(tmp_path / "lora.safetensors", 0.7)]) for path in paths)
    with transformers([Phase("high", merged, 1)], Placement(CPU, torch.float32, streamed=streamed)) as load:
        model = load("high")
        assert same(velocities(model), velocities(load_transformer(expected, CPU, torch.float32)))
    changed = held_weights(inspect_transformer(paths[0]), False).keys() - held_weights(merged, False).keys()
    assert changed == {"blocks.0.self_attn.q.weight", "blocks.1.ffn.0.weight"}


@pytest.mark.parametrize("streamed", [0, 2])
def test_a_lora_stands_beside_blocks_that_stay_as_they_are(
    tmp_path: Path, weights: dict[str, Tensor], streamed: int
) -> None:
    paths = both(tmp_path, weights, "Q5_K")
    lora = Lora(write_lora(tmp_path / "lora.safetensors", comfy(draw(WIDE))), 0.7)
    expected = velocities(load_transformer(inspect_transformer(paths[1], [lora]), CPU, torch.float32))
    file = with_branches(inspect_transformer(paths[0]), [lora])
    assert held_weights(file, False) == held_weights(inspect_transformer(paths[0]), False)
    with transformers([Phase("high", file, 1)], Placement(CPU, torch.float32, streamed=streamed)) as load:
        for found, wanted in zip(velocities(load("high")), expected, strict=True):
            assert (found - wanted).norm() < 1e-5 * wanted.norm()


def test_types_that_are_not_read_are_named(tmp_path: Path) -> None:
    tensors = load_file(HIGH)
    blocks = np.zeros((192, 3 * 18), dtype=np.uint8)
    path = write_gguf(tmp_path / "a.gguf", tensors | {"blocks.1.ffn.0.weight": ("IQ4_NL", blocks)}, HEADS)
    with pytest.raises(InputError, match="IQ4_NL"):
        inspect_transformer(path)
