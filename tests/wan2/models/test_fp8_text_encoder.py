"""The text encoder with its linears in fp8, against one of the same weights multiplied out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from holocine_ext.presets import MODELS
from wan2.errors import InputError
from wan2.models.fp8 import FP8, Fp8Linear, multiply_out, quantise_rows
from wan2.run.text_encoder import TextEncoder, encode, load_text_encoder
from wan2.streaming.text_layers import LayerFile
from wan2.text.tokenizer import TokenizedPrompt, load_tokenizer

DATA = Path(__file__).parents[2] / "data"
FILE = DATA / "t5.safetensors"
LINEARS = (".attn.q.", ".attn.k.", ".attn.v.", ".attn.o.", ".ffn.gate.0.", ".ffn.fc1.", ".ffn.fc2.")


@pytest.fixture(scope="module")
def prompt() -> TokenizedPrompt:
    return load_tokenizer(DATA / "tokenizer").tokenize(json.loads((DATA / "t5_cases.json").read_text())["prompts"][0])


def is_linear(name: str) -> bool:
    return any(part in name for part in LINEARS)


def in_fp8(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as a scaled fp8 file has them."""
    made = dict(tensors)
    for name in filter(is_linear, tensors):
        scale = tensors[name].abs().amax() / 448
        made |= {name: (tensors[name] / scale).to(FP8), name.replace("weight", "scale_weight"): scale}
    return made


def held(encoder: TextEncoder) -> list[str]:
    return [name for name, module in encoder.model.named_modules() if isinstance(module, Fp8Linear)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_linears_are_quantised_and_nothing_else(tmp_path: Path, prompt: TokenizedPrompt, dtype: torch.dtype) -> None:
    tensors = load_file(FILE)
    rounded = {
        name: multiply_out(*quantise_rows(tensor)[:2], torch.float32) if is_linear(name) else tensor
        for name, tensor in tensors.items()
    }
    save_file(rounded, tmp_path / "rounded.safetensors")
    encoder = load_text_encoder(FILE, "cpu", dtype, quantise=True)
    assert len(held(encoder)) == len(list(filter(is_linear, tensors)))
    assert not [module for module in encoder.model.modules() if isinstance(module, nn.Linear)]
    expected = encode(load_text_encoder(tmp_path / "rounded.safetensors", "cpu", dtype), prompt)
    assert torch.equal(encode(encoder, prompt), expected)


def test_the_error_of_a_trained_encoder_stays_small() -> None:
    nano = MODELS["nano"]["full"].model
    prompt = load_tokenizer(nano.tokenizer).tokenize("Wide shot of a red ball moving right by day, in a meadow.")
    exact, found = (encode(load_text_encoder(nano.t5, "cpu", torch.float32, fp8), prompt) for fp8 in (False, True))
    assert 0.005 < (found - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize("quantise", [False, True])
def test_a_file_in_fp8_stays_so(tmp_path: Path, prompt: TokenizedPrompt, quantise: bool) -> None:
    tensors = in_fp8(load_file(FILE))
    save_file(tensors, tmp_path / "fp8.safetensors")
    values = {
        name: tensor.float() * tensors[name.replace("weight", "scale_weight")] if is_linear(name) else tensor
        for name, tensor in tensors.items()
        if not name.endswith("scale_weight")
    }
    save_file(values, tmp_path / "values.safetensors")
    encoder = load_text_encoder(tmp_path / "fp8.safetensors", "cpu", torch.float32, quantise)
    assert len(held(encoder)) == len(list(filter(is_linear, values)))
    expected = encode(load_text_encoder(tmp_path / "values.safetensors", "cpu", torch.float32), prompt)
    assert torch.equal(encode(encoder, prompt), expected)


def test_a_layer_in_fp8_is_borrowed_in_fp8() -> None:
    encoder = load_text_encoder(FILE, "cpu", torch.bfloat16, quantise=True)
    plain = load_text_encoder(FILE, "cpu", torch.bfloat16)
    layer = "encoder.block.0."
    small, large = (
        LayerFile(FILE, e.weights, {layer: e.model.get_submodule(layer[:-1])}, e.dtype).layouts[0].nbytes
        for e in (encoder, plain)
    )
    assert 0.5 < small / large < 0.58


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_broken_scale_is_refused(tmp_path: Path, value: float) -> None:
    tensors = in_fp8(load_file(FILE))
    tensors["blocks.0.attn.q.scale_weight"] = torch.tensor(value)
    save_file(tensors, tmp_path / "fp8.safetensors")
    with pytest.raises(InputError, match=r"the scale of blocks\.0\.attn\.q\.weight must be finite and above 0"):
        load_text_encoder(tmp_path / "fp8.safetensors", "cpu", torch.float32)
