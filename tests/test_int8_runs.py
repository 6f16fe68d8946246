"""Runs from int8 files that multiply in int8, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import wan2.cli.main
from tests.tiny import QUICK, TinyModel, write_tiny_model
from tests.wan2.held_files import held_flags

RUN = [*QUICK, "--prompt", "a gull", "--flow_shift", "5", "--output_type", "latent"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


def latents(flags: list[str], path: Path, *words: str) -> Tensor:
    assert wan2.cli.main.main([*flags, *RUN, "--save_path", str(path), *words]) == 0
    return load_file(path)["latents"]


def test_latents_are_near_those_of_the_values_and_the_same_streamed(model: TinyModel, tmp_path: Path) -> None:
    flags = held_flags(model, tmp_path, "int8", "int8")
    usual = latents(flags, tmp_path / "usual.safetensors")
    fast = latents(flags, tmp_path / "fast.safetensors", "--int8_fast")
    assert 0 < (fast - usual).norm() < 0.03 * usual.norm()
    streamed = latents(flags, tmp_path / "streamed.safetensors", "--int8_fast", "--blocks_to_swap", "2")
    assert torch.equal(streamed, fast)


@pytest.mark.parametrize(
    ("forms", "words", "rule"),
    [
        (("gguf", "int8"), (), "--int8_fast: --dit_high_noise {} has no linear layer in int8, or LoRAs are"),
        (("int8", ""), (), "--int8_fast: --dit_low_noise {} has no linear layer in int8, or LoRAs are"),
        (("int8", "int8"), ("--fp8_fast",), "--fp8_fast: --dit_high_noise {} is quantised already (int8)"),
        (("int8", "int8"), ("--device", "mps"), "--int8_fast: needs a cuda device or a processor"),
    ],
    ids=["GGUF", "plain", "fp8", "mps"],
)
def test_what_cannot_be_is_refused(
    model: TinyModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    forms: tuple[str, str],
    words: tuple[str, ...],
    rule: str,
) -> None:
    flags = held_flags(model, tmp_path, *forms)
    save = ["--save_path", str(tmp_path / "out" / "a.safetensors")]
    assert wan2.cli.main.main([*flags, *RUN, "--int8_fast", *words, *save]) == 2
    said = rule.format(flags[flags.index(rule.split()[1]) + 1]) if "{}" in rule else rule
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"wan2_generate_video: {said}")
    assert not (tmp_path / "out").exists()
