"""Runs from GGUF files from the command line: the latents of the same values in fp32; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import holocine_ext.cli
import holocine_ext.plan
import wan2.cli.main
from tests.tiny import QUICK, TinyModel, impatient, write_tiny_model
from tests.wan2.gguf_files import in_llama, packed, values_in, write_gguf
from tests.wan2.lora_files import comfy, draw, write_lora
from tests.wan2.reference import CONFIG
from wan2.models.ggml import BlockLinear
from wan2.plan.budget import Work
from wan2.request.model import EXPERT_FLAG
from wan2.run.text_encoder import load_text_encoder
from wan2.streaming.residency import weight_bytes

STEPS = ["--prompt", "a gull", "--infer_steps", "4", "--flow_shift", "5", "--output_type", "latent"]
KIND = "Q5_0"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A whole model whose transformers and text encoder are files of the values that `in_gguf` packs."""
    made = write_tiny_model(tmp_path_factory.mktemp("model"))
    for path in (*(made.expert(noise) for noise in EXPERT_FLAG), made.t5):
        tensors = packed(load_file(path), KIND)
        is_t5 = path == made.t5
        stored = {in_llama(name): tensor for name, tensor in tensors.items()} if is_t5 else tensors
        notes = {} if is_t5 else {"num_heads": "4", "variant": "full"}
        write_gguf(path.with_suffix(".gguf"), stored, notes, arch="t5encoder" if is_t5 else "wan")
        save_file(values_in(tensors), path, notes)
    return made


def in_gguf(model: TinyModel) -> list[str]:
    """The flags that name the same model in GGUF."""
    names = [str(model.t5), *(str(model.expert(noise)) for noise in EXPERT_FLAG)]
    return [word.removesuffix(".safetensors") + ".gguf" if word in names else word for word in model.flags()]


def latents(flags: list[str], path: Path, *words: str) -> Tensor:
    assert wan2.cli.main.main([*flags, *QUICK, *STEPS, "--save_path", str(path), *words]) == 0
    return load_file(path)["latents"]


def test_a_run_gives_the_latents_of_the_values(model: TinyModel, tmp_path: Path) -> None:
    expected = latents(model.flags(), tmp_path / "values.safetensors")
    assert torch.equal(latents(in_gguf(model), tmp_path / "packed.safetensors"), expected)
    streamed = ["--blocks_to_swap", "2"]
    assert torch.equal(latents(in_gguf(model), tmp_path / "streamed.safetensors", *streamed), expected)
    record = json.loads((tmp_path / "packed.json").read_text())
    assert record["checkpoints"]["dit_high_noise"]["files"] == ["full_high_noise.gguf"]


def test_the_forecast_counts_the_blocks_and_what_loras_make_of_them(
    model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora, works = write_lora(tmp_path / "lora.safetensors", comfy(draw(CONFIG))), list[Work]()
    monkeypatch.setattr(holocine_ext.plan, "Work", lambda *words: (works.append(Work(*words)), works[-1])[1])
    for flags in (in_gguf(model), model.flags(), [*in_gguf(model), "--lora_weight_high_noise", str(lora)]):
        assert holocine_ext.cli.main([*flags, *QUICK, *STEPS, "--dry_run"]) == 0
    packed, plain, merged = (weight_bytes(work.config, 4, work.held).on_device(0) for work in works)
    assert packed < 0.5 * plain and merged == plain
    assert 0 < works[0].encoder_value < 1 and not works[1].encoder_value


def test_a_run_that_was_broken_off_goes_on_to_the_same_bits(
    model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = latents(in_gguf(model), tmp_path / "whole.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(wan2.cli.main, "Console", impatient(3))
        words = [*in_gguf(model), *QUICK, *STEPS, "--save_path", str(tmp_path / "broken.safetensors")]
        assert wan2.cli.main.main(words) == 130
    assert wan2.cli.main.main(["--resume", str(tmp_path / "broken.state.safetensors")]) == 0
    assert torch.equal(load_file(tmp_path / "broken.safetensors")["latents"], expected)


def test_the_text_encoder_stays_as_it_is(model: TinyModel) -> None:
    encoder = load_text_encoder(model.t5.with_suffix(".gguf"), "cpu", torch.bfloat16)
    linears = [module for module in encoder.model.modules() if isinstance(module, BlockLinear)]
    assert len(linears) == 14 and {linear.kind for linear in linears} == {KIND}


@pytest.mark.parametrize("main", [wan2.cli.main.main, holocine_ext.cli.main], ids=["wan2", "holocine"])
@pytest.mark.parametrize(
    ("flag", "rule"),
    [
        ("--fp8_scaled", "--fp8_scaled: --dit_high_noise {high} is quantised already (Q5_0), and stays so"),
        ("--fp8_t5", "--fp8_t5: --t5 {t5} is quantised already, and stays so"),
    ],
)
def test_what_is_quantised_is_not_quantised_again(
    model: TinyModel, capsys: pytest.CaptureFixture[str], main: Callable[[list[str]], int], flag: str, rule: str
) -> None:
    line = rule.format(high=model.expert("high").with_suffix(".gguf"), t5=model.t5.with_suffix(".gguf"))
    dry = ["--dry_run"] if main is holocine_ext.cli.main else []
    assert main([*in_gguf(model), *QUICK, *STEPS, flag, *dry]) == 2
    assert capsys.readouterr().err.splitlines()[-1].partition(": ")[2] == line
