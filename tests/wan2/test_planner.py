"""The planner: what fits is chosen, what does not is refused with the least that is needed; predictions are counted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers import AutoencoderKLWan

import holocine_ext.cli
import wan2.cli.main
from benchmarks.counting import LiveBytes
from holocine_ext.forecast import make_forecast
from holocine_ext.presets import MODELS
from holocine_ext.request import scene_request
from holocine_ext.story.boards import from_arguments
from tests.refused import FLAGS, refused, said
from tests.tiny import DATA, QUICK, TinyModel
from wan2.cli.flags import spelled
from wan2.cli.out_of_memory import explain_out_of_memory
from wan2.errors import InputError
from wan2.events import Stage
from wan2.models.config import A14B
from wan2.models.forms import as_fp8
from wan2.models.vae import WanVAE
from wan2.plan.budget import (
    GB,
    Part,
    Work,
    chosen,
    device_bytes,
    leanest,
    predict,
    within_budget,
    within_memory,
    work_of,
)
from wan2.plan.files import Files
from wan2.plan.memory import CUDA_CONTEXT, CUDA_WORKSPACES, VAE_CACHE_PER_PIXEL, Decoding
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.request.request import Request
from wan2.run.latents import load_latents
from wan2.weights.fp8 import quantised

WORK = Work(A14B)
CARD = {"height": 480, "width": 832, "num_frames": 241, "device": "cuda"}


def asked(**given: Any) -> Request:  # noqa: ANN401
    return make_request(WAN22_T2V, {"prompt": "a gull", "seed": 1, **CARD, **given})


def streamed(request: Request) -> int:
    assert isinstance(request.compute.blocks_to_swap, int)
    return request.compute.blocks_to_swap


def peak(options: Request) -> float:
    return max(device_bytes(options, WORK, part) for part in get_args(Part)) / GB


@pytest.mark.parametrize("budget", [90, 48, 40, 24, 16, 12, 10])
def test_what_is_chosen_fits_and_one_block_fewer_does_not(budget: int) -> None:
    options = asked(vram_budget=budget)
    made = within_budget(options, WORK)
    assert peak(made) <= budget
    count = made.compute.blocks_to_swap
    assert isinstance(count, int)
    fewer = asked(vram_budget=budget, blocks_to_swap=max(count - 1, 0))
    assert count == 0 or device_bytes(fewer, WORK, "transformer") > budget * GB
    assert within_budget(made, WORK) == made


@pytest.mark.parametrize("size", [7, 8, 12, 16, 24, 32, 48])
@pytest.mark.parametrize("more", [{}, {"fp8_scaled": True}, {"dtype": "float16", "num_frames": 81}], ids=str)
def test_auto_a_budget_and_a_look_ahead_give_one_answer(size: int, more: dict[str, Any]) -> None:
    """What a card of so many free bytes gets by itself is what a budget of them, and of what CUDA took before, chooses,
    and `--dry_run` says."""
    work = Work(A14B, held=as_fp8(quantised(A14B) if "fp8_scaled" in more else ()))
    scene = from_arguments(global_caption="A lighthouse.", shot_captions=["The tower", "The sea"])
    budget = scene_request(scene, MODELS["holocine"]["full"], {**CARD, **more, "vram_budget": size})
    free = scene_request(scene, MODELS["holocine"]["full"], {**CARD, **more})
    by_memory, by_budget = within_memory(free.base, work, size * 10**9 - CUDA_CONTEXT), within_budget(budget.base, work)
    assert by_memory.compute == replace(by_budget.compute, vram_budget=0)
    ahead = make_forecast(budget, None, work)
    assert ahead.memory == predict(by_budget, work) == predict(by_memory, work)
    assert ahead.chosen == chosen(free.base, by_memory)


def test_cuda_takes_its_share_of_a_gpu_alone() -> None:
    parts = get_args(Part)
    gpu, processor = (
        [device_bytes(asked(device=device, dtype="float32"), WORK, part) for part in parts]
        for device in ("cuda", "cpu")
    )
    assert {round(a - b) for a, b in zip(gpu, processor, strict=True)} == {CUDA_CONTEXT + CUDA_WORKSPACES}


def test_the_less_there_is_the_more_is_given_up() -> None:
    counts = [streamed(within_budget(asked(vram_budget=budget), WORK)) for budget in (90, 30, 20, 12)]
    assert counts[0] == 0
    assert counts == sorted(counts) and len(set(counts)) == 4


def test_the_cache_goes_to_the_host_before_the_picture_is_cut() -> None:
    only = {"latent_path": DATA / "denoise.safetensors"}
    words = [
        spelled(chosen(options, within_budget(options, WORK)), FLAGS)
        for options in (asked(vram_budget=b, **only) for b in (18, 8, 4, 3))
    ]
    assert words[0] == ""
    assert words[1] == "--vae_cache_cpu"
    assert words[2].startswith("--vae_tiling 240 416")
    assert words[3] == "--vae_tiling 240 416 --vae_cache_cpu"


def test_what_is_given_stays() -> None:
    with refused(r"--vram_budget 20: the transformer needs at least \d+\.?\d* GB$"):
        within_budget(asked(vram_budget=20, blocks_to_swap=0), WORK)
    assert streamed(within_budget(asked(vram_budget=40, blocks_to_swap=7), WORK)) == 7
    made = within_budget(asked(vram_budget=12, tile_height=96, tile_width=96), WORK).compute
    assert (made.tile_height, made.vae_cache_cpu) == (96, False)


def test_a_budget_that_nothing_fits_is_refused_with_the_least() -> None:
    with pytest.raises(InputError) as caught:
        within_budget(asked(vram_budget=1.6), WORK)
    line = said(caught.value)
    assert line.startswith("--vram_budget 1.6: the transformer needs at least ")
    assert line.endswith("GB, with --blocks_to_swap 40 --passes_apart")
    least = float(line.split("at least ")[1].split()[0])
    assert streamed(within_budget(asked(vram_budget=least * 1.01), WORK)) == 40
    with pytest.raises(InputError):
        within_budget(asked(vram_budget=least * 0.98), WORK)


def test_passes_run_apart_only_where_they_must() -> None:
    together, apart = asked(blocks_to_swap=40), asked(blocks_to_swap=40, passes_apart=True)
    stream = together.shape.tokens * A14B.dim * 2
    assert predict(together, WORK).transformer - predict(apart, WORK).transformer == stream
    budget = (device_bytes(together, WORK, "transformer") - stream / 2) / GB
    made = within_budget(asked(vram_budget=budget), WORK).compute
    assert made.passes_apart and made.blocks_to_swap == 40
    assert not within_budget(asked(vram_budget=budget + 1), WORK).compute.passes_apart
    with refused("needs at least"):
        within_budget(asked(vram_budget=budget, guidance_scale=1.0, blocks_to_swap=0), WORK)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"guidance_scale": 1.0}, "--passes_apart: with --guidance_scale 1 there is one pass only"),
        ({"blocks_to_swap": 0}, "--passes_apart: is for streamed blocks; where none are, passes run apart without it"),
        ({"device": "mps"}, "--passes_apart: is for streamed blocks; where none are, passes run apart without it"),
    ],
)
def test_passes_apart_is_refused_where_it_does_nothing(given: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        asked(passes_apart=True, **given)
    assert said(caught.value) == line


def test_no_budget_changes_nothing() -> None:
    options = asked()
    assert within_budget(options, WORK) is options


def test_where_nothing_is_streamed_no_block_is_planned_to_be() -> None:
    with refused("the transformer needs at least"):
        within_budget(asked(device="mps", vram_budget=16), WORK)


@pytest.mark.parametrize("tile", [(480, 832), (240, 416)])
@pytest.mark.parametrize("on_host", [False, True])
def test_the_prediction_of_the_decoder_is_what_is_alive(tile: tuple[int, int], on_host: bool) -> None:
    """Counted without numbers; on the host, the cache is taken off what is alive, the entry in use left on."""
    if on_host:
        plain, hosted = (Decoding(241, 480 * 832, math.prod(tile), at, weights=0).device(2) for at in (False, True))
        cache = math.prod(tile) * VAE_CACHE_PER_PIXEL * 2
        assert plain - cache < hosted < plain - 0.9 * cache
        return
    with torch.device("meta"):
        model = AutoencoderKLWan().bfloat16().eval().requires_grad_(False)
    vae = WanVAE(model)
    latents = torch.empty(1, 16, 3, tile[0] // 8, tile[1] // 8, device="meta", dtype=torch.bfloat16)
    with LiveBytes() as live:
        for chunk in vae._decoded(latents):
            del chunk
    assert Decoding(241, 480 * 832, math.prod(tile), weights=0).device(2) == pytest.approx(live.peak, rel=0.02)


def test_the_weights_of_the_whole_model_are_those_of_its_file() -> None:
    shapes = json.loads((DATA / "checkpoint_keys.json").read_text())["dit_t2v_A14B"]
    whole = sum(map(math.prod, shapes.values())) * 2
    assert predict(asked(blocks_to_swap=0), WORK).transformer_weights == whole


BUDGET = ["--prompt", "a gull", "--output_type", "latent"]


def test_a_budget_is_told_kept_and_changes_no_bit(
    tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*tiny.flags(), *QUICK, *BUDGET, "--dtype", "float32"]
    assert wan2.cli.main.main([*words, "--save_path", str(tmp_path / "a.safetensors")]) == 0
    request = make_request(
        WAN22_T2V,
        {"prompt": "a", "height": 32, "width": 32, "num_frames": 9, "device": "cpu", **files(tiny)},
    )
    opened = Files()
    work = work_of(request, opened, opened.transformer(request.model, request.model.expert("high")))
    swapped = request.computing(blocks_to_swap=3)
    monkeypatch.setattr(
        "wan2.plan.memory.PAIR_BYTES", 0
    )  # the longest text would take more than so small a transformer
    budget = device_bytes(swapped, work, "transformer") / GB * 1.001
    capsys.readouterr()
    words += ["--vram_budget", f"{budget:.9f}", "--save_path", str(tmp_path / "b.safetensors")]
    assert wan2.cli.main.main(words) == 0
    assert "to fit --vram_budget" in (told := capsys.readouterr().err)
    assert told.splitlines()[0].endswith("--blocks_to_swap 3")
    record = json.loads((tmp_path / "b.json").read_text())
    assert record["options"]["blocks_to_swap"] == 3
    assert torch.equal(*(load_latents(tmp_path / f"{name}.safetensors") for name in "ab"))


def files(tiny: TinyModel) -> dict[str, Path]:
    words = tiny.flags()
    return {flag.removeprefix("--"): Path(path) for flag, path in zip(words[::2], words[1::2], strict=True)}


@pytest.mark.parametrize("program", [wan2.cli.main.main, holocine_ext.cli.main])
def test_a_budget_too_small_is_bad_input(
    program: Callable[..., int],
    tiny: TinyModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],  # noqa: ANN401
) -> None:
    assert program([*tiny.flags(), *QUICK, *BUDGET, "--vram_budget", "0.00001", "--save_path", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--vram_budget 1e-05: the text encoder needs at least" in line
    assert not list(tmp_path.iterdir())


SCENE = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "--dry_run"]


def test_a_dry_run_plans_for_the_budget_and_tells_seconds_at_a_given_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert holocine_ext.cli.main([*SCENE, "--vram_budget", "12", "--tflops", "400"]) == 0
    text = capsys.readouterr().out
    assert "fits --vram_budget 12 by --blocks_to_swap" in text
    assert "blocks of each transformer streamed" in text
    assert "at 400 TFLOP/s" in text and "denoising, predicted: " in text
    assert holocine_ext.cli.main([*SCENE, "--step_cache", "0.1"]) == 0
    text = capsys.readouterr().out
    assert "less what the step cache spares" in text and "time " not in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--tflops", "0", "--dry_run"], "--tflops 0: must be a finite number above 0"),
        (["--tflops", "nan", "--dry_run"], "--tflops nan: must be a finite number above 0"),
        (["--card", "h100", "--tflops", "9", "--dry_run"], "--tflops and --card: two ways of giving a rate; give one"),
        (["--card", "h100"], "--card h100: only --dry_run says how long a run takes; give both"),
        (["--tflops", "400"], "--tflops 400: only --dry_run says how long a run takes; give both"),
        (["--vram_budget", "-1"], "--vram_budget -1.0: must lie between 0 and 10000"),
        (["--vram_budget", "nan"], "--vram_budget nan: must be a finite number"),
        (["--vram_budget", "8GB"], "--vram_budget: '8GB' is not a number"),
    ],
)
def test_refusals(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert holocine_ext.cli.main(["--model", "nano", "--prompt", "a ball", *words]) == 2
    assert capsys.readouterr().err.splitlines() == [f"holocine_generate_video: {line}"]


def test_out_of_memory_names_the_leanest_options() -> None:
    assert leanest(asked(), WORK, "transformer").startswith("`blocks_to_swap` 40 `passes_apart` (predicted ")
    assert "`tile_height`" in leanest(asked(), WORK, "vae")
    assert leanest(asked(), WORK, "text_encoder") == leanest(asked(), WORK, None) == ""
    assert leanest(asked(blocks_to_swap=40), WORK, "transformer").startswith("`passes_apart` (predicted ")
    assert leanest(asked(blocks_to_swap=40, passes_apart=True), WORK, "transformer") == ""
    line = explain_out_of_memory(MemoryError(), Stage.DENOISE, "--blocks_to_swap 40 (predicted 7 GB)")
    assert line.endswith("; the least as it is: --blocks_to_swap 40 (predicted 7 GB)")


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "float16", "float32"])
def test_the_vae_computes_in_the_dtype_it_was_published_with(dtype: str) -> None:
    published = predict(asked(dtype=dtype), WORK)
    own = predict(asked(dtype=dtype, vae_dtype="auto"), WORK)
    assert published.vae == predict(asked(dtype="float32"), WORK).vae
    assert published.vae == own.vae * (1 if dtype in ("float16", "float32") else 2)
    assert (published.text_encoder, published.transformer) == (own.text_encoder, own.transformer)
