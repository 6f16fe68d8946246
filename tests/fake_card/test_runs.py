"""Both commands, every stage, on a GPU that is not there: no tensor on the wrong device, of a wrong dtype or layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import holocine_ext.cli
import wan2.cli.main
import wan2.models.fp8
import wan2.models.transformer
import wan2.models.vae
import wan2.streaming.copies
from benchmarks.fake_card.card import TESTED, is_tested
from benchmarks.fake_card.notes import Notes
from tests.fake_card.runs import ON_CARD, run
from tests.tiny import TinyModel, impatient
from tests.wan2.lora_files import comfy, draw, with_whole, write_lora
from wan2.models.fp8 import Fp8Linear, Rows, multiply_out, quantise_rows
from wan2.models.rope import Rope, rope_table
from wan2.weights.checkpoint import inspect_transformer

pytestmark = pytest.mark.skipif(not is_tested(), reason=f"the fake card is written for PyTorch {TESTED}")

PROMPT = ["--prompt", "[global caption] A ball. [per shot caption] It rolls. [shot cut] It rests."]
# Enough blocks for some to be quantised.
NANO = ["--model", "nano"]
VIDEO = ["--output_type", "video"]
LATENT_FRAMES = 3
# What runs in every layer, or is to run beside the computation.
INNER = (
    "wan2/models/layers",
    "wan2/models/attention",
    "wan2/models/fp8",
    "wan2/models/fused",
    "holocine_ext/shots",
    "wan2/streaming",
)
CASES: dict[str, list[str]] = {
    "whole, a kernel chosen, a video with previews": ["--attn_mode", "auto", "--preview", "1", *VIDEO],
    "sparse, streamed from main memory, UniPC": [
        *("--variant", "sparse", "--blocks_to_swap", "2", "--weights_from", "ram", "--sample_solver", "unipc"),
    ],
    "fp8 products, streamed from the disk, passes apart": [
        *NANO,
        *("--fp8_fast", "--blocks_to_swap", "2", "--passes_apart"),
    ],
}


def on_card(model: TinyModel, path: Path, words: list[str], *faults: tuple[Any, str, Any]) -> tuple[Notes, int]:
    """A run of the extension."""
    variant = "sparse" if "sparse" in words else "full"
    target = path if "video" in words else path.with_suffix(".safetensors")
    flags = [] if "nano" in words else model.flags(variant)
    words = [*ON_CARD, *flags, *PROMPT, *words, "--save_path", str(target)]
    return run(holocine_ext.cli.main, words, *faults)


def waiting(notes: Notes) -> list[str]:
    """Where the host waits in what should never wait."""
    return [wait.line for wait in notes.waits if wait.line.startswith(INNER)]


@pytest.mark.parametrize("name", CASES)
def test_a_scene(name: str, tiny: TinyModel, tmp_path: Path) -> None:
    notes, code = on_card(tiny, tmp_path / "scene.mp4", CASES[name])
    assert code == 0 and any(tmp_path.glob("scene.[ms]*"))
    assert waiting(notes) == []
    assert notes.kernels["scaled_dot_product_attention"] > 0
    assert notes.kernels["rms_rope"] > 0


def test_the_cache_of_the_vae_waits_in_main_memory_and_nobody_for_it(tiny: TinyModel, tmp_path: Path) -> None:
    words = ["--dtype", "float16", "--fused", "off", "--vae_tiling", "32", "32", "--vae_cache_cpu", *VIDEO]
    notes, code = on_card(tiny, tmp_path / "scene.mp4", words)
    assert waiting(notes) == [] and notes.kernels["rms_rope"] == 0
    waits = [wait for wait in notes.waits if wait.line.startswith("wan2/models/vae")]
    moved = 2 + 2 * LATENT_FRAMES  # means and deviations; each frame goes to the card, and its pictures come back
    assert code == 0 and len(waits) == moved


def test_a_run_of_the_base(tiny: TinyModel, tmp_path: Path) -> None:
    words = [*ON_CARD, *tiny.flags(), "--prompt", "a ball", "--save_path", str(tmp_path / "ball.safetensors")]
    notes, code = run(wan2.cli.main.main, words)
    assert code == 0 and waiting(notes) == []


def test_a_run_goes_on_from_its_state_with_loras_merged(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = inspect_transformer(tiny.expert("high")).config
    lora = write_lora(tmp_path / "style.safetensors", comfy(with_whole(draw(config), config)))
    loras = ["--lora_weight", str(lora), "--lora_weight_high_noise", str(lora)]
    stopped = [*loras, "--sample_solver", "dpm++", "--blocks_to_swap", "1", "--save_every", "1"]
    with monkeypatch.context() as patched:
        patched.setattr(wan2.cli.main, "Console", impatient(1))
        assert on_card(tiny, tmp_path / "scene", stopped)[1] == 130
    state = tmp_path / "scene.state.safetensors"
    notes, code = run(holocine_ext.cli.main, ["--resume", str(state)])
    assert code == 0 and (tmp_path / "scene.safetensors").is_file()
    assert waiting(notes) == []


def table_on_the_host(grid: tuple[int, int, int], head_dim: int, _: torch.device) -> Rope:
    return rope_table(grid, head_dim, torch.device("cpu"))


def means_on_the_host(vae: wan2.models.vae.WanVAE, latents: Tensor) -> Iterator[Tensor]:
    vae.mean = torch.zeros(1, 16, 1, 1, 1)
    yield from DECODED(vae, latents)


def multiplied_out_wide(linear: Fp8Linear, x: Tensor) -> Tensor:
    return F.linear(x, multiply_out(linear.stored, linear.scale, torch.float32), linear.bias)


def not_transposed(linear: Fp8Linear, x: Tensor | Rows) -> Tensor:
    rows = x if isinstance(x, Rows) else quantise_rows(x)
    scales = {"scale_a": rows.scale.flatten(0, -2), "scale_b": linear.scale.t()}
    stored = linear.stored.t().contiguous()
    out = torch._scaled_mm(rows.values.flatten(0, -2), stored, bias=linear.bias, out_dtype=rows.dtype, **scales)
    return out.unflatten(0, rows.values.shape[:-1])


def waits_for_the_copy(_: object, __: int, source: Tensor, ___: int, target: Tensor) -> None:
    target.copy_(source)


DECODED = wan2.models.vae.WanVAE._decoded
FAULTS: dict[str, tuple[Any, str, Any, list[str], str]] = {
    "a rotation on the host": (wan2.models.transformer, "rope_table", table_on_the_host, [], "same device"),
    "a rotation on the host, not fused": (
        *(wan2.models.transformer, "rope_table", table_on_the_host),
        *(["--fused", "off"], "same device"),
    ),
    "means on the host": (wan2.models.vae.WanVAE, "_decoded", means_on_the_host, VIDEO, "same device"),
    "a weight in fp32": (wan2.models.fp8.Fp8Linear, "forward", multiplied_out_wide, ["--fp8_t5"], "one dtype"),
    "fp8 not transposed": (wan2.models.fp8.FastFp8Linear, "forward", not_transposed, [*NANO, "--fp8_fast"], "major"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(name: str, tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    owner, what, value, words, error = FAULTS[name]
    _, code = on_card(tiny, tmp_path / "scene.mp4", words, (owner, what, value))
    assert code != 0
    assert error in capsys.readouterr().err


def test_a_copy_that_waits_is_noticed(tiny: TinyModel, tmp_path: Path) -> None:
    fault = (wan2.streaming.copies.CudaCopyStream, "copy", waits_for_the_copy)
    notes, code = on_card(tiny, tmp_path / "scene.mp4", ["--blocks_to_swap", "2"], fault)
    assert code == 0 and waiting(notes) != []
