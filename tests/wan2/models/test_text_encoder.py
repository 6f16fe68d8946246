"""The text encoder against the original's embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import UMT5Config, UMT5EncoderModel

from wan2.errors import InputError
from wan2.run.text_encoder import TextEncoder, encode, load_text_encoder
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt, load_tokenizer
from wan2.weights.text_names import IGNORED, config_from_shapes, to_transformers

DATA = Path(__file__).parents[2] / "data"
PROMPTS = json.loads((DATA / "t5_cases.json").read_text())["prompts"]
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_text_encoder(DATA / "t5.safetensors", "cpu", torch.float32)


@pytest.fixture(scope="module")
def prompts() -> list[TokenizedPrompt]:
    tokenizer = load_tokenizer(DATA / "tokenizer")
    return [tokenizer.tokenize(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("index", range(len(PROMPTS)))
def test_embeddings(encoder: TextEncoder, prompts: list[TokenizedPrompt], index: int) -> None:
    expected = load_file(DATA / "t5_cases.safetensors")[f"{index}.embedding"]
    torch.testing.assert_close(encode(encoder, prompts[index]), expected, atol=TOLERANCE, rtol=0)


def test_zeros_follow_the_last_token(encoder: TextEncoder, prompts: list[TokenizedPrompt]) -> None:
    embedding = encode(encoder, prompts[0])
    assert embedding.shape == (1, TEXT_LENGTH, 64)
    assert embedding[:, prompts[0].num_tokens :].abs().max() == 0
    assert (embedding[:, : prompts[0].num_tokens].abs().amax(dim=-1) > 0).all()


def test_prompts_together_get_the_bits_of_each_alone(encoder: TextEncoder, prompts: list[TokenizedPrompt]) -> None:
    together = encode(encoder, *prompts)
    assert torch.equal(together, torch.cat([encode(encoder, prompt) for prompt in prompts]))


def test_layers_in_turn_are_the_whole_model(encoder: TextEncoder, prompts: list[TokenizedPrompt]) -> None:
    whole = UMT5EncoderModel(encoder.model.config).eval()
    missing = whole.load_state_dict({name: w.stored for name, w in encoder.weights.items()}, strict=False).missing_keys
    assert missing in ([], ["encoder.embed_tokens.weight"])
    with torch.inference_mode():
        expected = whole(input_ids=torch.tensor([prompts[0].ids])).last_hidden_state
    torch.testing.assert_close(encoder.run([prompts[0].ids])[0], expected, atol=1e-6, rtol=0)


def test_weights_rest_in_the_dtype_of_the_file(prompts: list[TokenizedPrompt]) -> None:
    encoder = load_text_encoder(DATA / "t5.safetensors", "cpu", torch.bfloat16)
    assert encode(encoder, prompts[2]).dtype is torch.bfloat16
    assert {weight.stored.dtype for weight in encoder.weights.values()} == {torch.float32}
    assert all(parameter.is_meta for parameter in encoder.model.parameters())
    exact = load_file(DATA / "t5_cases.safetensors")["2.embedding"]
    torch.testing.assert_close(encode(encoder, prompts[2]).float(), exact, atol=0.15, rtol=0)


def test_a_prompt_that_is_too_long_is_refused(encoder: TextEncoder) -> None:
    prompt = load_tokenizer(DATA / "tokenizer").tokenize("gull " * 600)
    with pytest.raises(InputError, match="must be at most 512"):
        encode(encoder, prompt)
    assert encode(encoder, prompt.truncated()).shape == (1, TEXT_LENGTH, 64)


def test_every_published_name_lands_on_one_parameter_of_its_shape() -> None:
    published = json.loads((DATA / "checkpoint_keys.json").read_text())["models_t5_umt5-xxl-enc-bf16.pth"]
    shapes = {to_transformers(name): tuple(shape) for name, shape in published.items()}
    config = config_from_shapes(shapes)
    assert config is not None
    with torch.device("meta"):
        parameters = dict(UMT5EncoderModel(UMT5Config(**config)).named_parameters())
    expected = {name: tuple(weight.shape) for name, weight in parameters.items() if name not in IGNORED}
    assert len(published) == len(shapes) == 242
    assert shapes == expected


def test_pth_and_transformers_names_load_the_same(tmp_path: Path, prompts: list[TokenizedPrompt]) -> None:
    tensors = load_file(DATA / "t5.safetensors")
    torch.save(tensors, tmp_path / "t5.pth")
    save_file({to_transformers(name): tensor for name, tensor in tensors.items()}, tmp_path / "t5.safetensors")
    expected = encode(load_text_encoder(DATA / "t5.safetensors", "cpu", torch.float32), prompts[2])
    for file in ("t5.pth", "t5.safetensors"):
        assert torch.equal(encode(load_text_encoder(tmp_path / file, "cpu", torch.float32), prompts[2]), expected)


@pytest.mark.parametrize(
    ("lost", "added", "said"),
    [
        ("blocks.1.attn.q.weight", None, "1 tensors missing (encoder.block.1.layer.0.SelfAttention.q.weight)"),
        (None, "decoder.weight", "1 tensors unknown (decoder.weight)"),
        ("token_embedding.weight", None, "tensor shared.weight is missing; it is not exactly a UMT5 text encoder"),
    ],
)
def test_a_file_with_other_tensors_is_refused(tmp_path: Path, lost: str | None, added: str | None, said: str) -> None:
    tensors = load_file(DATA / "t5.safetensors")
    if lost:
        del tensors[lost]
    if added:
        tensors[added] = torch.zeros(1)
    path = tmp_path / "t5.safetensors"
    save_file(tensors, path)
    with pytest.raises(InputError) as caught:
        load_text_encoder(path, "cpu", torch.float32)
    assert str(caught.value).startswith(f"t5 {path}: ")
    assert said in str(caught.value)


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    tensors = load_file(DATA / "t5.safetensors")
    tensors["blocks.1.norm1.weight"] = torch.zeros(7)
    save_file(tensors, tmp_path / "t5.safetensors")
    with pytest.raises(InputError, match=r"1 tensors misshapen \(encoder.block.1.layer.0.layer_norm.weight\)"):
        load_text_encoder(tmp_path / "t5.safetensors", "cpu", torch.float32)


def test_scaled_fp8_is_multiplied_out(tmp_path: Path, prompts: list[TokenizedPrompt]) -> None:
    tensors: dict[str, torch.Tensor] = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    plain = {}
    for name, tensor in load_file(DATA / "t5.safetensors").items():
        layer = name.removesuffix(".weight")
        if ".attn." not in name:
            tensors[name] = plain[name] = tensor
            continue
        scale = tensor.abs().max() / torch.finfo(torch.float8_e4m3fn).max
        tensors[name], tensors[f"{layer}.scale_weight"] = (tensor / scale).to(torch.float8_e4m3fn), scale
        plain[name] = tensors[name].float() * scale
    save_file(tensors, tmp_path / "fp8.safetensors")
    save_file(plain, tmp_path / "plain.safetensors")
    scaled, expected = (
        encode(load_text_encoder(tmp_path / file, "cpu", torch.float32), prompts[2])
        for file in ("fp8.safetensors", "plain.safetensors")
    )
    assert torch.equal(scaled, expected)
