"""Runs in fp8 from the command line: the same streamed or not, kept or not, unbroken or not; and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import holocine_ext.cli
import wan2.cli.main
import wan2.plan.checks
from tests.tiny import QUICK, TinyModel, impatient, write_tiny_model
from tests.wan2.fp8_files import needs_product, scaled, six_blocks, write
from wan2.request.model import EXPERT_FLAG
from wan2.weights.fp8_cache import cache_path

PROMPT = ["--prompt", "a gull"]
STEPS = ["--infer_steps", "4", "--flow_shift", "5"]  # two of each expert


@pytest.fixture
def model(tmp_path: Path) -> TinyModel:
    """A whole model, its transformers six blocks deep."""
    made = write_tiny_model(tmp_path / "model")
    for noise in EXPERT_FLAG:
        write(made.expert(noise), six_blocks(noise), torch.float32)
    return made


def run(model: TinyModel, save_path: Path, *words: str) -> int:
    ready = [
        *model.flags(),
        *QUICK,
        *STEPS,
        *PROMPT,
        "--output_type",
        "latent",
        "--save_path",
        str(save_path),
        "--overwrite",
    ]
    return wan2.cli.main.main([*ready, *words])


def latents(model: TinyModel, save_path: Path, *words: str) -> Tensor:
    assert run(model, save_path, *words) == 0
    return load_file(save_path)["latents"]


def refusal(model: TinyModel, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    before = sorted(model.root.parent.rglob("*"))
    capsys.readouterr()
    assert run(model, model.root.parent / "refused.safetensors", *words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line != "Loading PyTorch"]
    assert sorted(model.root.parent.rglob("*")) == before
    return line.removeprefix("wan2_generate_video: ")


@pytest.mark.parametrize("flag", ["--fp8_scaled", pytest.param("--fp8_fast", marks=needs_product)])
def test_streamed_and_kept_make_no_difference(
    model: TinyModel, tmp_path: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, whole = latents(model, tmp_path / "a.safetensors"), latents(model, tmp_path / "b.safetensors", flag)
    assert 1e-4 < (whole - plain).norm() / plain.norm() < 0.2
    for count in ("3", "6"):
        assert torch.equal(latents(model, tmp_path / "c.safetensors", flag, "--blocks_to_swap", count), whole)
    capsys.readouterr()
    assert torch.equal(latents(model, tmp_path / "d.safetensors", flag, "--fp8_cache"), whole)
    assert capsys.readouterr().err.count("Writing ") == 2
    for noise in EXPERT_FLAG:
        assert cache_path(model.expert(noise)).exists()
    assert torch.equal(latents(model, tmp_path / "e.safetensors", flag, "--fp8_cache", "--blocks_to_swap", "6"), whole)
    assert "Writing " not in capsys.readouterr().err
    options = json.loads((tmp_path / "e.json").read_text())["options"]
    assert options[flag[2:]] is True and options["fp8_cache"] is True and options["fp8_t5"] is False


def test_the_text_encoder_in_fp8_changes_the_video_a_little(model: TinyModel, tmp_path: Path) -> None:
    plain, t5 = latents(model, tmp_path / "a.safetensors"), latents(model, tmp_path / "b.safetensors", "--fp8_t5")
    assert 0 < (t5 - plain).norm() / plain.norm() < 0.2


def test_a_file_in_fp8_needs_no_option(model: TinyModel, tmp_path: Path) -> None:
    """Multiplied out or held in fp8, the video is the same."""
    for noise in EXPERT_FLAG:
        tensors = scaled(six_blocks(noise))
        values = {
            name: tensor.float() * tensors.get(name.removesuffix("weight") + "scale_weight", 1)
            for name, tensor in tensors.items()
            if "scale" not in name
        }
        write(model.expert(noise), values, torch.float32)
    plain = latents(model, tmp_path / "a.safetensors")
    for noise in EXPERT_FLAG:
        write(model.expert(noise), scaled(six_blocks(noise)), torch.float32)
    for words in ([], ["--fp8_scaled"], ["--blocks_to_swap", "6"]):
        assert torch.equal(latents(model, tmp_path / "b.safetensors", *words), plain)


def test_a_broken_run_goes_on_bit_for_bit(
    model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--fp8_scaled", "--fp8_t5"]
    whole = latents(model, tmp_path / "b.safetensors", *words)

    with monkeypatch.context() as patched:
        patched.setattr(wan2.cli.main, "Console", impatient(1))
        assert run(model, tmp_path / "a.safetensors", *words) == 130
    state = tmp_path / "a.state.safetensors"
    for flag in ("fp8_scaled", "fp8_t5"):
        others = [f"--{name}" for name in ("fp8_scaled", "fp8_t5") if name != flag]
        assert run(model, tmp_path / "a.safetensors", *others, "--resume") == 2
        assert f"was saved with --{flag} True, not False" in capsys.readouterr().err
    assert wan2.cli.main.main(["--resume", str(state), "--fp8_fast"]) == 2
    assert "was saved with --fp8_fast False, not True" in capsys.readouterr().err
    # Kept weights and streaming are free to differ.
    assert wan2.cli.main.main(["--resume", str(state), "--fp8_cache", "--blocks_to_swap", "5"]) == 0
    assert torch.equal(load_file(tmp_path / "a.safetensors")["latents"], whole)


def test_broken_scales_are_refused_before_anything_is_loaded(
    model: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model.expert("low")
    tensors = scaled(six_blocks("low"))
    name = "blocks.4.self_attn.k.scale_weight"
    for value, said in ((0.0, "0.0"), (float("nan"), "nan")):
        write(path, tensors | {name: torch.tensor(value)})
        assert (
            refusal(model, capsys)
            == f"--dit_low_noise {path}: scale {name} holds {said}; it must be finite and above 0"
        )
    del tensors[name]
    write(path, tensors)
    assert "blocks.4.self_attn.k.weight is fp8 in a scaled file but has no scale" in refusal(model, capsys)


def test_scales_of_other_weights_end_in_a_line_that_thinks_of_them(
    model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = scaled(six_blocks("high"))
    tensors["blocks.4.self_attn.v.scale_weight"] = torch.tensor(3e38)
    write(model.expert("high"), tensors)
    assert run(model, tmp_path / "a.safetensors") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "step 1 of 4 (high-noise expert) gave values that are not finite" in line
    assert "fp8 scales that are not those of its weights" in line


def test_where_there_is_nothing_to_do_or_no_way_to_do_it(
    model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    high = model.expert("high")
    assert refusal(model, capsys, "--fp8_cache").startswith("--fp8_cache: keeps what --fp8_scaled or --fp8_fast makes")
    cache_path(high).write_text("notes")
    assert "high_noise.fp8.safetensors is in the way" in refusal(model, capsys, "--fp8_scaled", "--fp8_cache")
    cache_path(high).unlink()
    usage = wan2.plan.checks.shutil.disk_usage
    with monkeypatch.context() as patched:
        patched.setattr(wan2.plan.checks.shutil, "disk_usage", lambda path: usage(path)._replace(free=500_000))
        line = refusal(model, capsys, "--fp8_scaled", "--fp8_cache")
        assert "has 0.0 GB free; the fp8 weights of --dit_high_noise take 0.0 GB" in line
    with monkeypatch.context() as patched:
        patched.setattr(wan2.plan.checks.os, "access", lambda path, _: Path(path) != high.parent)
        assert "lies in a folder that cannot be written to" in refusal(model, capsys, "--fp8_scaled", "--fp8_cache")
    for noise in EXPERT_FLAG:
        write(model.expert(noise), scaled(six_blocks(noise)))
    line = refusal(model, capsys, "--fp8_scaled", "--fp8_cache")
    assert line == "--fp8_cache: the linear layers of both transformers are fp8 already"
    three = write_tiny_model(tmp_path / "three")
    line = refusal(replace(model, root=three.root), capsys, "--fp8_scaled")
    assert line.endswith("has 3 blocks; the first and the last 2 are left as they are, so none remains")


def test_a_processor_without_the_product_is_refused(
    model: TinyModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object, **__: object) -> Tensor:
        raise RuntimeError("not here")

    monkeypatch.setattr(torch, "_scaled_mm", absent)
    assert refusal(model, capsys, "--fp8_fast").startswith("--fp8_fast: PyTorch ")


def test_the_plan_knows_of_fp8(model: TinyModel, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*model.flags(), *QUICK, *PROMPT, "--dry_run"]

    def weights(*more: str) -> str:
        assert holocine_ext.cli.main([*words, *more]) == 0
        return capsys.readouterr().out.partition("transformer ")[2].partition(" +")[0]

    plain, small = weights(), weights("--fp8_scaled")
    for noise in EXPERT_FLAG:
        write(model.expert(noise), scaled(six_blocks(noise)))
    assert float(weights().split()[0]) < float(small.split()[0]) < float(plain.split()[0])
