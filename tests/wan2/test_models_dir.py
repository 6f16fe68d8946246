"""`--models_dir` finds files by what they are; experts that look exchanged are a warning."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import holocine_ext.cli
import wan2.cli.main
from tests.refused import refused
from tests.tiny import QUICK, TinyModel
from tests.wan2.lora_files import draw, kohya, write_lora
from tests.wan2.reference import CONFIG
from wan2.plan.files import Files
from wan2.plan.mixups import mixups
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.weights.folder import find_models

ROLES = ("dit_high_noise", "dit_low_noise", "t5", "tokenizer", "vae")
SCENE = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "The lamp"]


@pytest.fixture
def comfy(tiny: TinyModel, tmp_path: Path) -> Path:
    """A folder as ComfyUI has it, with files that are for something else."""
    root = tmp_path / "models"
    places = {
        "diffusion_models/HoloCine-Full-HighNoise.safetensors": tiny.expert("high"),
        "diffusion_models/holocine_full_low_fp32.safetensors": tiny.expert("low"),
        "diffusion_models/HoloCine-sparse_HIGH.safetensors": tiny.expert("high", "sparse"),
        "diffusion_models/HoloCine-sparse_LOW.safetensors": tiny.expert("low", "sparse"),
        "text_encoders/some_name.safetensors": tiny.t5,
        "vae/pictures.safetensors": tiny.vae,
        "umt5/tokenizer.json": tiny.tokenizer / "tokenizer.json",
        "umt5/tokenizer_config.json": tiny.tokenizer / "tokenizer_config.json",
    }
    for name, source in places.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / name)
    write_lora(root / "style.safetensors", kohya(draw(CONFIG)))
    (root / "vae/page.safetensors").write_bytes(b"<!DOCTYPE html>")
    (root / "notes.txt").write_text("words")
    return root


def test_files_are_found_by_what_they_are(comfy: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    words = [*SCENE, *QUICK, "--models_dir", str(comfy), "--dry_run", "--save_path", str(tmp_path / "a.mp4")]
    for variant, high in (("full", "HoloCine-Full-HighNoise"), ("sparse", "HoloCine-sparse_HIGH")):
        assert holocine_ext.cli.main([*words, "--variant", variant]) == 0
        said = capsys.readouterr().err.splitlines()
        name = "holocine_generate_video: "
        assert said[0] == f"{name}--dit_high_noise {comfy}/diffusion_models/{high}.safetensors"
        assert said[2:] == [
            f"{name}--t5 {comfy}/text_encoders/some_name.safetensors",
            f"{name}--tokenizer {comfy}/umt5",
            f"{name}--vae {comfy}/vae/pictures.safetensors",
        ]


def test_a_run_from_a_folder_is_that_of_the_files(comfy: Path, tiny: TinyModel, tmp_path: Path):
    common = [*SCENE, *QUICK, "--output_type", "latent"]
    assert holocine_ext.cli.main([*common, *tiny.flags(), "--save_path", str(tmp_path / "a.safetensors")]) == 0
    found = [*common, "--models_dir", str(comfy), "--save_path", str(tmp_path / "b.safetensors")]
    assert holocine_ext.cli.main(found) == 0
    one, other = (load_file(tmp_path / f"{name}.safetensors")["latents"] for name in "ab")
    assert one.equal(other)


def test_what_is_named_wins_and_is_not_looked_for(comfy: Path, tiny: TinyModel, capsys: pytest.CaptureFixture[str]):
    shutil.copy(tiny.vae, comfy / "vae/another.safetensors")
    words = [*SCENE, *QUICK, "--models_dir", str(comfy), "--dry_run"]
    assert holocine_ext.cli.main(words) == 2
    said = capsys.readouterr().err
    assert f"--models_dir {comfy}: has 2 for --vae: vae/another.safetensors, vae/pictures.safetensors; name one" in said
    assert holocine_ext.cli.main([*words, "--vae", str(tiny.vae)]) == 0
    assert "--vae" not in capsys.readouterr().err


def test_a_link_or_a_loop_is_no_second_file(comfy: Path):
    (comfy / "vae/link.safetensors").symlink_to(comfy / "vae/pictures.safetensors")
    (comfy / "vae/loop").symlink_to(comfy)
    assert find_models(comfy, ["vae"])["vae"].parent == comfy / "vae"


def test_an_index_stands_for_its_shards(tiny: TinyModel, tmp_path: Path):
    tensors = load_file(tiny.expert("high"))
    names = sorted(tensors)
    folder = tmp_path / "high_noise_model"
    folder.mkdir()
    files = {name: f"model-0000{1 + (i > 50)}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, folder / file, {"num_heads": "4"})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    assert find_models(tmp_path, ROLES) == {"dit_high_noise": index}


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    assert wan2.cli.main.main(["--prompt", "x", "--models_dir", str(tmp_path / "empty")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"wan2_generate_video: --models_dir {tmp_path}/empty: has nothing for --dit_high_noise"
    with refused("^--models_dir absent: no such folder$"):
        find_models(Path("absent"), ROLES)


def test_experts_of_two_models_can_be_mixed(tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The high-noise expert of shots with a low-noise one that says nothing of a variant, as docs/weights.md has it."""
    stock = tmp_path / "wan2.2_t2v_low_noise_14B_fp16.safetensors"
    save_file(load_file(tiny.expert("low")), stock, {"num_heads": "4"})
    words = [*SCENE, *QUICK, *tiny.flags(), "--dit_low_noise", str(stock), "--output_type", "latent"]
    assert holocine_ext.cli.main([*words, "--save_path", str(tmp_path / "a.safetensors")]) == 0
    assert "warning" not in capsys.readouterr().err


def request(high: Path, low: Path, **more: object):  # noqa: ANN201
    return make_request(WAN22_T2V, {"prompt": "x", "dit_high_noise": high, "dit_low_noise": low, **more})


def test_experts_that_look_exchanged_are_a_warning(tiny: TinyModel, tmp_path: Path):
    high, low = tiny.expert("high"), tiny.expert("low")
    assert mixups(request(high, low), Files()) == ()
    assert mixups(request(low, high), Files()) == (
        f"`dit_high_noise` {low}: is by its name the expert of low noise",
        f"`dit_low_noise` {high}: is by its name the expert of high noise",
    )
    copy = tmp_path / "model.safetensors"
    shutil.copy(high, copy)
    same = "`dit_high_noise` and `dit_low_noise`: are the same weights, but the steps of much noise have an expert of"
    for other in (high, copy):
        assert mixups(request(high, other), Files())[-1].startswith(same)
    os.truncate(copy, 100)
    assert mixups(request(high, copy), Files()) == ()
    images = tmp_path / "holocine_i2v_low.safetensors"
    assert mixups(request(high, images), Files()) == (
        f"`dit_low_noise` {images}: is by its name for image to video; its tensors are as for text to video",
    )
    lora = tmp_path / "lightx2v_high_noise_lora.safetensors"
    said = mixups(request(high, low, lora_weight=[lora]), Files())
    assert said == (f"`lora_weight` {lora}: is by its name for the expert of high noise",)
    assert mixups(request(high, low, lora_weight=[lora], lora_multiplier=[0.0]), Files()) == ()


def test_the_warnings_are_seen_and_the_run_goes_on(tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    flags = [*tiny.flags(), "--dit_low_noise", str(tiny.expert("high"))]
    words = [*flags, *QUICK, "--output_type", "latent", "--save_path", str(tmp_path / "a.safetensors")]
    assert wan2.cli.main.main([*words, "--prompt", "a gull"]) == 0
    assert capsys.readouterr().err.count("warning: --dit_") == 2
    assert holocine_ext.cli.main([*words, *SCENE, "--dry_run"]) == 0
    assert "warning    --dit_low_noise" in capsys.readouterr().out
