"""Text encoders and VAEs are checked before PyTorch is there, as strictly as transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from tests.tiny import DATA
from wan2.errors import InputError
from wan2.weights import text_names, vae_names, vae_shapes
from wan2.weights.decode import TORCH_DTYPES
from wan2.weights.header import read_header
from wan2.weights.pickled import unpickle
from wan2.weights.pickled_head import pickled_table
from wan2.weights.text_names import IGNORED
from wan2.weights.whole import text_encoder_config, vae_config

KEYS = json.loads((DATA / "checkpoint_keys.json").read_text())
PUBLISHED = {"t5": KEYS["models_t5_umt5-xxl-enc-bf16.pth"], "vae": KEYS["Wan2.1_VAE.pth"]}
T5, VAE = load_file(DATA / "t5.safetensors"), load_file(DATA / "vae.safetensors")
QUERY = "blocks.0.attn.q"
E4M3 = torch.float8_e4m3fn
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool, torch.int8]
Check = Callable[[Path], Mapping[str, Any]]
CHECKS: dict[str, tuple[Check, dict[str, Tensor]]] = {
    "t5": (lambda path: text_encoder_config(path, read_header(path)), T5),
    "vae": (lambda path: vae_config(path, read_header(path)), VAE),
}


def mark(**content: object) -> Tensor:
    return torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)


def rows(name: str) -> Tensor:
    return torch.ones(T5[f"{name}.weight"].shape[0], 1)


def in_fp8(*without: str) -> dict[str, Tensor]:
    """A scaled fp8 text encoder, some of its scales lost."""
    found: dict[str, Tensor] = {"scaled_fp8": torch.zeros(2, dtype=E4M3)}
    for name, tensor in T5.items():
        scaled = ".attn." in name or ".ffn." in name
        found[name] = tensor.to(E4M3) if scaled else tensor
        if scaled and name not in without:
            found[name.replace("weight", "scale_weight")] = torch.ones(())
    return found


INT8 = {f"{QUERY}.weight": T5[f"{QUERY}.weight"].to(torch.int8)}
PACKED = {f"{QUERY}.weight": torch.zeros(T5[f"{QUERY}.weight"].shape[0], 4, dtype=torch.uint8)}
REFUSED: dict[str, tuple[str, dict[str, Tensor], str]] = {
    "int8 ConvRot of another kind": (
        "t5",
        INT8 | {f"{QUERY}.weight_scale": rows(QUERY), f"{QUERY}.comfy_quant": mark(format="int8", convrot=True)},
        f"tensor {QUERY}.weight is int8 of the format 'int8'; int8_tensorwise is read",
    ),
    "int8 without scales": ("t5", INT8, "its weights are int8 without scales, which is not read"),
    "nvfp4": (
        "t5",
        PACKED
        | {f"{QUERY}.weight_scale": torch.ones(4, 1).to(E4M3), f"{QUERY}.weight_scale_2": torch.ones(())}
        | {f"{QUERY}.comfy_quant": mark(format="nvfp4")},
        "its weights are nvfp4, which is not read",
    ),
    "mxfp8": (
        "t5",
        {f"{QUERY}.weight": T5[f"{QUERY}.weight"].to(E4M3), f"{QUERY}.weight_scale": torch.ones(4, 1).byte()},
        "its weights are mxfp8, which is not read",
    ),
    "blocks": (
        "t5",
        {f"{QUERY}.weight": T5[f"{QUERY}.weight"].to(E4M3), f"{QUERY}.weight_scale_inv": torch.ones(2, 2)},
        "its weights are scaled fp8 with scales of blocks, which is not read",
    ),
    "whole numbers": ("t5", {"norm.weight": T5["norm.weight"].int()}, "has the dtype I32, which is not a float"),
    "a scale of 0": (
        "t5",
        {f"{QUERY}.weight": T5[f"{QUERY}.weight"].to(E4M3), f"{QUERY}.scale_weight": torch.zeros(())},
        "holds 0.0; it must be finite and above 0",
    ),
    "an int8 VAE": ("vae", {"conv2.weight": VAE["conv2.weight"].char()}, "int8 without scales, which is not read"),
    "pictures of 12 channels": (
        "vae",
        {name: torch.cat([VAE[name]] * 4) for name in ("decoder.head.2.weight", "decoder.head.2.bias")},
        "its pictures have 12 channels, those of a Wan2.1 VAE have 3; VAEs that enlarge images are not read",
    ),
    "Wan2.2's VAE": (
        "vae",
        {"decoder.upsamples.0.upsamples.0.residual.2.weight": torch.zeros(2, 2)},
        "must be a Wan2.1 VAE; it is a Wan2.2 VAE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_would_go_wrong_later_is_refused_by_its_header(name: str, tmp_path: Path):
    which, changed, said = REFUSED[name]
    check, sound = CHECKS[which]
    path = tmp_path / "a.safetensors"
    save_file(sound | changed, path)
    with pytest.raises(InputError) as caught:
        check(path)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value), caught.value


def test_a_missing_scale_is_seen_but_not_one_of_the_embedding(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save_file(in_fp8(), path)
    text_encoder_config(path, read_header(path))
    embedding = {"token_embedding.weight": T5["token_embedding.weight"].to(E4M3)}
    save_file(in_fp8() | embedding, path)
    text_encoder_config(path, read_header(path))
    save_file(in_fp8("blocks.1.ffn.fc2.weight"), path)
    with pytest.raises(InputError, match=r"blocks.1.ffn.fc2.weight is fp8 in a scaled file but has no scale"):
        text_encoder_config(path, read_header(path))


@pytest.mark.parametrize("name", [name for name in T5 if name.startswith("blocks.0.")][:4] + ["norm.weight"])
@pytest.mark.parametrize("which", CHECKS)
def test_every_tensor_counts(which: str, name: str, tmp_path: Path):
    check, sound = CHECKS[which]
    name = name if which == "t5" else sorted(sound)[len(name)]
    path = tmp_path / "a.safetensors"
    for changed in ({k: v for k, v in sound.items() if k != name}, sound | {name: sound[name][None].contiguous()}):
        save_file(changed, path)
        with pytest.raises(InputError, match="not exactly"):
            check(path)


def test_the_shapes_of_the_text_encoder_are_those_of_transformers():
    published = {text_names.to_transformers(name): tuple(shape) for name, shape in PUBLISHED["t5"].items()}
    small = text_encoder_config(DATA / "t5.safetensors")
    for config in (text_names.config_from_shapes(published), small):
        assert config is not None
        with torch.device("meta"):
            model = UMT5EncoderModel(UMT5Config(**config))
        found = {name: tuple(value.shape) for name, value in model.named_parameters() if name not in IGNORED}
        assert text_names.tensor_shapes(config) == found
    assert text_names.tensor_shapes(text_names.config_from_shapes(published) or {}) == published


def test_the_shapes_of_the_vae_are_those_of_diffusers():
    names = vae_names.to_diffusers(PUBLISHED["vae"])
    published = vae_names.config_from_shapes({names[name]: shape for name, shape in PUBLISHED["vae"].items()})
    odd = {"base_dim": 8, "decoder_base_dim": 16, "z_dim": 4, "dim_mult": [1, 3, 3], "num_res_blocks": 1}
    odd |= {"temperal_downsample": [False, True], "in_channels": 3, "out_channels": 12}
    for config in (published, vae_config(DATA / "vae.safetensors"), odd):
        assert config is not None
        with torch.device("meta"):
            model = AutoencoderKLWan(**config)
        found = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        assert vae_shapes.tensor_shapes(config) == found
    assert len(vae_shapes.tensor_shapes(published or {})) == len(PUBLISHED["vae"]) == 194


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("tensors", [T5, VAE, {}], ids=["t5", "vae", "empty"])
def test_a_pickle_tells_its_tensors_without_pytorch(tensors: dict[str, Tensor], archive: bool, tmp_path: Path):
    path = tmp_path / "a.pth"
    mixed = {name: value.to(dtype) for (name, value), dtype in zip(tensors.items(), cycle(DTYPES), strict=False)}
    parameter = {"a": torch.nn.Parameter(torch.ones(2)), "b": torch.ones(3, dtype=E4M3)} if archive else {}
    torch.save(mixed | parameter, path, _use_new_zipfile_serialization=archive)
    expected = {name: (value.dtype, tuple(value.shape)) for name, value in unpickle(path).items()}
    assert {name: (TORCH_DTYPES[dtype], shape) for name, (dtype, shape) in pickled_table(path).items()} == expected


@pytest.mark.parametrize("which", CHECKS)
def test_a_pickle_is_checked_by_its_tensors(which: str, tmp_path: Path):
    check = {"t5": text_encoder_config, "vae": vae_config}[which]
    other = {"t5": VAE, "vae": T5}[which]
    torch.save(CHECKS[which][1], tmp_path / "a.pth")
    assert check(tmp_path / "a.pth") == check(DATA / f"{which}.safetensors")
    torch.save(other, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a.pth: must be a .*; it is a "):
        check(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [[torch.ones(1)], {1: torch.ones(1)}, {"a": {"b": torch.ones(1)}}, {"a": 1.0}])
def test_a_pickle_of_something_else_is_refused(content: object, tmp_path: Path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match="something other than a table of tensors"):
        pickled_table(tmp_path / "a.pth")
