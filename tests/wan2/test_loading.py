from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.wan2.reference import CONFIG, DATA, TENSORS
from wan2.errors import InputError
from wan2.models.conditioning import Conditioning
from wan2.models.transformer import WanTransformer
from wan2.weights.checkpoint import inspect_transformer, load_tensors, load_transformer
from wan2.weights.header import read_header

HIGH = DATA / "dit_high_noise.safetensors"
FOUR_HEADS = {"num_heads": "4"}
Write = Callable[..., Path]


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return load_file(HIGH)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(tensors: dict[str, Tensor], name: str = "model.safetensors", **metadata: str) -> Path:
        save_file(tensors, tmp_path / name, metadata=FOUR_HEADS | metadata)
        return tmp_path / name

    return save


def velocity(model: WanTransformer) -> Tensor:
    with torch.inference_mode():
        return model(TENSORS["1.latents"], torch.tensor(875.0), Conditioning(TENSORS["1.context"]))


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        inspect_transformer(path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line


def test_a_file_becomes_the_model(write: Write, weights: dict[str, Tensor]) -> None:
    model = load_transformer(inspect_transformer(write(weights)), "cpu", torch.float32)
    assert model.config == CONFIG
    assert (velocity(model) - TENSORS["1.full.negative"]).abs().max() < 5e-5
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("asked", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_any_float_type_becomes_the_one_asked_for(
    write: Write, weights: dict[str, Tensor], stored: torch.dtype, asked: torch.dtype
) -> None:
    path = write({name: tensor.to(stored) for name, tensor in weights.items()})
    model = load_transformer(inspect_transformer(path), "cpu", asked)
    assert model.dtype == asked
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name].to(stored).to(asked))


def test_comfyui_prefix_is_stripped(write: Write, weights: dict[str, Tensor]) -> None:
    path = write({f"model.diffusion_model.{name}": tensor for name, tensor in weights.items()})
    assert torch.equal(
        velocity(load_transformer(inspect_transformer(path), "cpu", torch.float32)), velocity_of(weights)
    )


def velocity_of(weights: dict[str, Tensor]) -> Tensor:
    model = WanTransformer(CONFIG)
    model.load_state_dict(weights)
    return velocity(model)


def test_diffusers_transformer_is_read_and_agrees_with_diffusers(write: Write) -> None:
    from diffusers import WanTransformer3DModel

    theirs = WanTransformer3DModel(
        num_attention_heads=4, attention_head_dim=24, text_dim=64, ffn_dim=192, num_layers=3
    ).eval()
    ours = load_transformer(inspect_transformer(write(theirs.state_dict())), "cpu", torch.float32)
    with torch.inference_mode():
        expected = theirs(TENSORS["1.latents"], torch.tensor([875.0]), TENSORS["1.context"]).sample
    assert (velocity(ours) - expected).abs().max() < 5e-5


@pytest.mark.parametrize("ending", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("rows", [False, True], ids=["one scale", "a scale a row"])
def test_scaled_fp8_is_multiplied_out(write: Write, weights: dict[str, Tensor], ending: str, rows: bool) -> None:
    stored, expected = dict(weights), dict(weights)
    for name in [name for name in weights if ".ffn." in name and name.endswith(".weight")]:
        scale = weights[name].abs().amax(1, keepdim=True) / 448 if rows else weights[name].abs().amax() / 448
        stored[name] = (weights[name] / scale).to(torch.float8_e4m3fn)
        stored[name.replace("weight", ending)] = scale.clone()
        expected[name] = stored[name].float() * scale
        if ending == "weight_scale":
            stored[name.replace("weight", "comfy_quant")] = torch.tensor([123, 125], dtype=torch.uint8)
    if ending == "scale_weight":
        stored["scaled_fp8"] = torch.zeros(2).to(torch.float8_e4m3fn)
    path = write(stored)
    assert torch.equal(
        velocity(load_transformer(inspect_transformer(path), "cpu", torch.float32)), velocity_of(expected)
    )
    del stored[f"blocks.0.ffn.0.{ending}"]
    assert "blocks.0.ffn.0.weight is fp8 in a scaled file but has no scale" in refusal(write(stored))


def test_a_scale_of_the_wrong_shape_is_refused(write: Write, weights: dict[str, Tensor]) -> None:
    weights["blocks.0.ffn.0.scale_weight"] = torch.ones(7)
    assert "blocks.0.ffn.0.scale_weight is F32 [7]; a scale is one float, or one a row" in refusal(write(weights))


def test_shards_are_one_checkpoint(write: Write, weights: dict[str, Tensor], tmp_path: Path) -> None:
    names = sorted(weights)
    for number, part in enumerate((names[:50], names[50:])):
        write({name: weights[name] for name in part}, f"part{number}.safetensors")
    index = {"weight_map": {name: f"part{int(place >= 50)}.safetensors" for place, name in enumerate(names)}}
    (tmp_path / "dit.safetensors.index.json").write_text(json.dumps(index))
    for path in (tmp_path, tmp_path / "dit.safetensors.index.json"):
        assert torch.equal(
            velocity(load_transformer(inspect_transformer(path), "cpu", torch.float32)), velocity_of(weights)
        )
    write({names[0]: weights[names[0]]}, "part1.safetensors")
    assert "is also in part0.safetensors" in str(pytest.raises(InputError, read_header, tmp_path).value)


def test_one_shard_stands_for_all(write: Write, weights: dict[str, Tensor], tmp_path: Path) -> None:
    names = sorted(weights)
    parts = [write({name: weights[name] for name in part}, f"dit-0000{number}-of-00002.safetensors")
             for number, part in enumerate((names[:50], names[50:]), 1)]  # fmt: skip
    for path in (*parts, tmp_path):
        assert inspect_transformer(path).header.files == tuple(parts)
    parts[0].unlink()
    assert "is one of 2 shards, which must lie together; dit-00001-of-00002.safetensors is not there" in refusal(
        parts[1]
    )


def test_missing_unknown_and_misshapen_tensors_are_counted_and_named(write: Write, weights: dict[str, Tensor]) -> None:
    for name in ("head.head.bias", "blocks.1.norm3.bias", "blocks.0.norm3.bias", "blocks.2.norm3.bias"):
        del weights[name]
    weights |= {"blocks.0.extra": torch.zeros(1), "time_embedding.2.bias": torch.zeros(5)}
    line = refusal(write(weights))
    assert "4 tensors missing (blocks.0.norm3.bias, blocks.1.norm3.bias, blocks.2.norm3.bias, ...)" in line
    assert "1 tensors unknown (blocks.0.extra)" in line
    assert "1 tensors misshapen (time_embedding.2.bias)" in line
    assert line.endswith("; it is not exactly a Wan T2V transformer (16 input channels, 3 blocks, 96 wide)")


def test_an_absent_block_is_missing_tensors(write: Write, weights: dict[str, Tensor]) -> None:
    path = write({name: tensor for name, tensor in weights.items() if not name.startswith("blocks.1.")})
    assert "tensors missing" in refusal(path)


def test_an_image_to_video_checkpoint_is_named_as_such(write: Write, weights: dict[str, Tensor]) -> None:
    weights["patch_embedding.weight"] = torch.zeros(96, 36, 1, 2, 2)
    line = refusal(write(weights))
    assert "must be a Wan T2V transformer; it is a Wan2.2 I2V transformer (36 input channels" in line


def test_a_name_alone_refuses_nothing(write: Write) -> None:
    """Public files that are text-to-video are called `...I2VT2V_t2vHigh...`."""
    assert inspect_transformer(write(load_file(HIGH), "full_I2VT2V_t2vHigh.safetensors")).config.in_dim == 16


@pytest.mark.parametrize(
    ("file", "what"), [("t5.safetensors", "a UMT5 text encoder"), ("vae.safetensors", "a Wan2.1 VAE")]
)
def test_another_model_is_named(file: str, what: str) -> None:
    assert f"must be a Wan T2V transformer; it is {what}" in refusal(DATA / file)


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(**changes: object) -> dict:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


BROKEN = {
    "empty": (b"", "is empty"),
    "zip": (b"PK\x03\x04" + bytes(40), "not a safetensors file but a zip archive or PyTorch file that is truncated"),
    "pickle": (b"\x80\x02}q\x00." + bytes(40), "a Python pickle"),
    "gguf": (b"GGUF" + bytes(40), "is GGUF of version 0"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "page": (b"<!DOCTYPE html><html>", "a web page"),
    "noise": (bytes(range(200, 256)), "is not a safetensors file"),
    "few bytes": (b"\x01\x02", "is not a safetensors file"),
    "header cut": (raw(one(), length=4000), "is truncated: its header alone claims 4000 bytes"),
    "header huge": (raw(one(), length=2**60), "over the 8388608 allowed here"),
    "data cut": (raw(one(), bytes(4)), "is truncated: its tensors need"),
    "data left over": (raw(one(), bytes(9)), "has 1 bytes after its last tensor"),
    "not json": (raw(b"{not json at all"), "is not valid JSON"),
    "not utf-8": (raw(b'{"\xff": 1}'), "is not valid JSON"),
    "deep": (raw(b'{"a":' + b"[" * 100_000), "is not valid JSON"),
    "twice": (raw(b'{"a": 1, "a": 2}'), "a name occurs twice"),
    "metadata": (raw({"__metadata__": {"a": 1}}), "__metadata__ is not a table of texts"),
    "no table": (raw({"a": [1]}), "tensor 'a' is not described by a table"),
    "dtype": (raw(one(dtype="F13"), bytes(8)), "has the unknown dtype 'F13'"),
    "dtype list": (raw(one(dtype=["F32"]), bytes(8)), "has the unknown dtype"),
    "shape": (raw(one(shape=[-2]), bytes(8)), "not a list of sizes"),
    "shape bool": (raw(one(shape=[True, 2]), bytes(8)), "not a list of sizes"),
    "offsets": (raw(one(data_offsets=[8, 0]), bytes(8)), "not [start, end]"),
    "size": (raw(one(shape=[3]), bytes(8)), "does not fit its data_offsets of 8 bytes"),
    "overflow": (raw(one(shape=[2**62, 2**62]), bytes(8)), "does not fit"),
    "overlap": (raw(one() | {"b": one(data_offsets=[4, 12])["a"]}, bytes(12)), "tensor 'b' overlaps 'a'"),
    "hole": (raw(one(data_offsets=[4, 12]), bytes(12)), "leaves a hole after the header"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    content, why = BROKEN[kind]
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    assert why in refusal(path)


def test_absent_files_and_folders_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.safetensors")
    assert "is a folder with 0 checkpoints" in refusal(tmp_path)
    (tmp_path / "bad.index.json").write_text("[]")
    assert "is not an index" in refusal(tmp_path / "bad.index.json")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_header_is_refused_or_read_but_never_crashes(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(raw(one() | {"b": one(data_offsets=[8, 16])["a"], "__metadata__": {"k": "v"}}, bytes(16)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        header = read_header(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(entry.end <= path.stat().st_size for entry in header.entries.values())


def test_a_file_is_refused_without_pytorch(tmp_path: Path) -> None:
    script = (
        "import sys; from wan2.weights.checkpoint import inspect_transformer\n"
        f"print(inspect_transformer({str(tmp_path / 'm.safetensors')!r}).config.num_layers)\n"
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)\n"
    )
    save_file(load_file(HIGH), tmp_path / "m.safetensors", metadata=FOUR_HEADS)
    command = [sys.executable, "-c", script]
    assert subprocess.check_output(command, cwd=DATA.parents[1], text=True) == "3\n"


def test_a_mask_channel_is_accepted(write: Write, weights: dict[str, Tensor]) -> None:
    weights["patch_embedding.weight"] = torch.zeros(96, 17, 1, 2, 2)
    assert inspect_transformer(write(weights)).config == replace(CONFIG, in_dim=17)


def test_integer_weights_are_refused(write: Write, weights: dict[str, Tensor]) -> None:
    weights["head.head.bias"] = torch.zeros(64, dtype=torch.int8)
    assert "head.head.bias has the dtype I8, which is not a float" in refusal(write(weights))


def test_tensors_of_both_kinds_of_file(write: Write, tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.tensor(2.0), "d": torch.zeros(0, 2)}
    torch.save(tensors, tmp_path / "a.pth")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for path in (write(tensors), tmp_path / "a.pth", tmp_path / "old.pth"):
        read = dict(load_tensors(path))
        assert read.keys() == tensors.keys()
        assert all(torch.equal(read[name], tensors[name]) and read[name].dtype == tensors[name].dtype for name in read)


class Evil:
    def __reduce__(self) -> tuple:
        return (Path("/tmp/never-made-by-a-checkpoint").touch, ())


def test_pickles_that_are_not_plain_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"

    def refused() -> str:
        return str(pytest.raises(InputError, lambda: list(load_tensors(path))).value)

    torch.save({"a": Evil()}, path)
    assert "not a PyTorch file of plain tensors; nothing in it was run" in refused()
    assert not Path("/tmp/never-made-by-a-checkpoint").exists()
    torch.save({"a": [torch.zeros(1)]}, path)
    assert "something other than a table of tensors" in refused()
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:3000])
    assert "PyTorch file" in refused()
    path.write_bytes(b"")
    assert "PyTorch file" in refused()
    path.unlink()
    assert "No such file" in refused()
