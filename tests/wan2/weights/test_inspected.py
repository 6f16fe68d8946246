"""`--inspect`: what files are, and whether a run takes them; it says what a run would say."""

from __future__ import annotations

import io
import json
import math
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import holocine_ext.cli
import wan2.cli.main
from tests.refused import refused
from tests.tiny import DATA, TinyModel
from tests.wan2.lora_files import draw, kohya, write_lora
from tests.wan2.reference import CONFIG
from wan2.weights.inspected import inspect_file
from wan2.weights.kinds.experts import expert_by_name
from wan2.weights.kinds.without import without_weights

ROOT = Path(__file__).parents[3]


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return content.getvalue()


def tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    return content.getvalue()


WITHOUT = {
    "a Git LFS pointer: the weights themselves": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "a web page: the download went wrong": b"\n<!DOCTYPE html><html><title>404</title>",
    "a web page": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "an empty file": b"",
    "an index of the shards": b'{"weight_map": {}}',
    "a description of a PEFT adapter": b'{"peft_type": "LORA"}',
    "a description of a model or pipeline of diffusers": b'{"_class_name": "WanPipeline"}',
    "a description of a model of transformers": b'{"architectures": ["UMT5EncoderModel"]}',
    "a tokenizer": b'{"added_tokens": []}',
    "a workflow of ComfyUI": b'{"last_node_id": 3}',
    "an error message of a download": b'{"error": "Repository not found"}',
    "a JSON file": b"[1, 2]",
    "a PyTorch file: its name must end in .pth": zipped("archive/data.pkl"),
    "a zip archive: unpack it first": zipped("a.txt"),
    "a zip archive or PyTorch file that is truncated": zipped("archive/data.pkl")[:30],
    "a tar archive": tarred(),
    "a Python pickle": b"\x80\x04}.",
    "a GGUF file": b"GGUF\x03",
    "an HDF5 file": b"\x89HDF\r\n",
    "a picture (PNG)": b"\x89PNG\r\n",
    "a picture (JPEG)": b"\xff\xd8\xff\xe0",
    "a 7-Zip archive": b"7z\xbc\xaf'\x1c",
    "an RAR archive": b"Rar!\x1a",
    "a gzip archive": b"\x1f\x8b\x08",
    "a Zstandard archive": b"\x28\xb5\x2f\xfd",
    "a text file": "Größe\n".encode(),
    "a file of no known kind": bytes(range(200, 256)),
}


@pytest.mark.parametrize("said", WITHOUT)
def test_a_file_without_weights_is_called_what_it_is(said: str, tmp_path: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(WITHOUT[said])
    assert str(without_weights(path)).startswith(said)
    found = inspect_file(path)
    assert (found.settings, found.head) == ((), None) and found.problem


SIZES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1, "I32": 4, "I64": 8, "BOOL": 1}


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("bnb_nf4", "bitsandbytes nf4"),
        ("bnb_fp4", "bitsandbytes fp4"),
        ("bnb_int8", "bitsandbytes int8"),
        ("torchao_int8", "torchao"),
        ("torchao_float8", "torchao"),
    ],
)
def test_what_quantising_libraries_write_is_refused_in_its_own_name(file: str, named: str, tmp_path: Path):
    """Names, dtypes, shapes and metadata of files that bitsandbytes 0.50 and torchao 0.18 wrote; zeros for values."""
    told = json.loads((ROOT / "tests/data/quantised_heads.json").read_text())["files"][file]
    header, end = {"__metadata__": told["metadata"]}, 0
    for name, (dtype, shape) in told["tensors"].items():
        start, end = end, end + SIZES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    found = inspect_file(path)
    assert found.problem == f"its weights are {named}, which is not read"
    assert str(found.kind).startswith("a Wan T2V transformer")


def test_a_pytorch_file_of_other_objects_is_called_so(tmp_path: Path):
    (tmp_path / "model.pth").write_bytes(zipped("archive/data.pkl"))
    assert str(without_weights(tmp_path / "model.pth")) == "a PyTorch file: of more than plain tensors"


@pytest.mark.parametrize(
    ("name", "expert"),
    [
        ("wan2.2_t2v_high_noise_14B_fp16.safetensors", "high"),
        ("Wan2.2-T2V-A14B-LowNoise-Q4_K_M.gguf", "low"),
        ("wan22_I2VT2V_t2vHigh_v10.safetensors", "high"),
        ("HoloCine-Full-HighNoise-fp8.safetensors", "high"),
        ("Holocine_full_low.safetensors", "low"),
        ("HIGH.safetensors", "high"),
        ("low_noise_model/diffusion_pytorch_model.safetensors.index.json", "low"),
        ("wan_highres_lowvram.safetensors", ""),
        ("high-res_fix.safetensors", ""),
        ("high_and_low.safetensors", ""),
        ("flow_follow_slow.safetensors", ""),
        ("model.safetensors", ""),
    ],
)
def test_the_expert_is_read_from_names(name: str, expert: str):
    assert expert_by_name(Path("models") / name) == expert


def test_what_runs_is_said_with_its_setting(tiny: TinyModel, tmp_path: Path):
    lora = write_lora(tmp_path / "style_low.safetensors", kohya(draw(CONFIG)))
    torch.save(load_file(DATA / "vae.safetensors"), tmp_path / "vae.pth")
    settings = {
        tiny.expert("high"): ("dit_high_noise",),
        tiny.expert("low"): ("dit_low_noise",),
        DATA / "wan22/dit_low_noise.safetensors": ("dit_low_noise",),
        tiny.vae: ("vae",),
        tmp_path / "vae.pth": ("vae",),
        tiny.t5: ("t5",),
        tiny.tokenizer: ("tokenizer",),
        tiny.tokenizer / "tokenizer.json": ("tokenizer",),
    }
    assert {path: inspect_file(path).settings for path in settings} == settings
    assert "does not fit a transformer of 40 blocks, 5120 wide" in inspect_file(lora).problem


@pytest.mark.parametrize("change", ["missing", "int", "i2v"])
def test_what_does_not_run_is_said_as_a_run_says_it(change: str, tiny: TinyModel, tmp_path: Path):
    tensors = load_file(tiny.expert("high"))
    if change == "missing":
        del tensors["head.head.bias"]
    elif change == "int":
        tensors["head.head.bias"] = tensors["head.head.bias"].int()
    else:
        tensors["patch_embedding.weight"] = torch.zeros(96, 36, 1, 2, 2)
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, {"num_heads": "4"})
    found = inspect_file(path)
    assert found.settings == ()
    flags = [*tiny.flags(), "--dit_high_noise", str(path), "--prompt", "x"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "wan2_generate_video.py"), *flags], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines() == [f"wan2_generate_video: --dit_high_noise {path}: {found.problem}"]


def test_the_table_is_narrow_and_needs_no_scene(tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    page = tmp_path / "page.safetensors"
    page.write_bytes(WITHOUT["a web page"])
    paths = [tiny.expert("high", "sparse"), tiny.t5, tiny.vae, tiny.tokenizer, page]
    assert holocine_ext.cli.main(["--inspect", *map(str, paths)]) == 0
    out = capsys.readouterr().out
    assert out.count("runs ") == 5 and "variant  sparse, by its metadata" in out and "--dit_high_noise" in out
    assert max(len(line) for line in out.splitlines() if line.startswith("  ")) <= 80
    assert wan2.cli.main.main(["--inspect", str(tiny.vae)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  is       Wan2.1 VAE (8 channels wide)",
        f"  holds    fp32, 194 tensors, {tiny.vae.stat().st_size / 1e6:.1f} MB",
        "  runs     yes, as --vae",
    ]


def test_a_path_with_nothing_there_is_bad_input(tmp_path: Path):
    with refused(rf"^--inspect {tmp_path}/a: no such file$"):
        inspect_file(tmp_path / "a")


def test_inspecting_loads_nothing_heavy(tiny: TinyModel, tmp_path: Path):
    torch.save(load_file(tiny.t5), tmp_path / "t5.pth")
    paths = [tiny.expert("low"), tiny.t5, tiny.vae, tmp_path / "t5.pth"]
    code = (
        "import json, sys, holocine_ext.cli\n"
        f"holocine_ext.cli.main(['--inspect', *json.loads({json.dumps([str(path) for path in paths])!r})])\n"
        "print('heavy:', sorted({'torch', 'numpy', 'diffusers', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
    assert done.stdout.count("yes, as --") == 4
