"""The options of a run: what the preset gives, what a flag overrides, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.refused import refused
from tests.tiny import DATA
from wan2.cli.flags import flag_of
from wan2.errors import InputError
from wan2.request.flat import RANGES, flat_values, make_request, plain_values
from wan2.request.presets import WAN22_T2V
from wan2.request.request import NEGATIVE_PROMPT, Request

NAN, INF = float("nan"), float("inf")


def options(**given: object) -> Request:
    return make_request(WAN22_T2V, {"prompt": "a gull", **given})


def scales(made: Request) -> tuple[float, ...]:
    return tuple(expert.guidance_scale for expert in made.model.experts)


def test_the_defaults_are_those_of_wan22():
    made = options(seed=1)
    assert (made.sampling.infer_steps, made.sampling.flow_shift, made.num_frames, made.fps) == (40, 12.0, 81, 16.0)
    assert (scales(made), made.model.dual_dit_boundary) == ((4.0, 3.0), 0.875)
    assert (made.height, made.width, made.negative_prompt) == (720, 1280, NEGATIVE_PROMPT)
    assert made.sampling.sample_solver == "unipc"
    assert (made.model.round_timestep, made.model.vae_dtype) == (False, "float32")


def test_the_negative_prompt_is_the_published_one():
    assert (DATA / "negative_prompt.txt").read_text(encoding="utf-8").strip() == NEGATIVE_PROMPT


def test_what_is_given_wins_and_none_is_not_given():
    made = options(infer_steps=7, flow_shift=None, vae=Path("other.pth"))
    assert (made.sampling.infer_steps, made.sampling.flow_shift, made.model.vae) == (7, 12.0, Path("other.pth"))
    assert made.model.t5 == WAN22_T2V.model.t5


def test_a_guidance_scale_alone_serves_both_experts():
    assert scales(options(guidance_scale=1.0)) == (1.0, 1.0)
    assert scales(options(guidance_scale=1.0, guidance_scale_high_noise=2.0)) == (2.0, 1.0)
    assert scales(options(guidance_scale_high_noise=2.0)) == (2.0, 3.0)


def test_only_scale_one_for_both_experts_runs_no_negative_pass():
    assert not options(guidance_scale=1.0).guided
    assert options(guidance_scale=1.0, guidance_scale_high_noise=2.0).guided


def test_a_seed_is_drawn_when_none_is_given():
    assert options(seed=0).seed == 0
    assert len({options().seed for _ in range(8)}) == 8


@pytest.mark.parametrize(("asked", "made"), [(81, 81), (83, 81), (100, 101), (1, 1), (3, 1)])
def test_the_length_snaps_to_the_latent_grid(asked: int, made: int):
    assert options(num_frames=asked).shape.num_frames == made


@pytest.mark.parametrize("name", sorted(RANGES))
def test_every_number_keeps_to_its_range(name: str):
    low, high = RANGES[name]
    step = 16 if name in ("height", "width") else 1
    for value in (low - step, high + step):
        with refused(f"{flag_of(name)} {value}: must lie between"):
            options(**{name: value})
    assert flat_values(options(**{name: low}))[name] == low
    assert flat_values(options(**{name: high}))[name] == high


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(
    "name", ["fps", "flow_shift", "guidance_scale", "guidance_scale_high_noise", "dual_dit_boundary"]
)
def test_numbers_are_finite(name: str, value: float):
    with refused(f"--{name} (nan|inf|-inf): must be a finite number"):
        options(**{name: value})


@pytest.mark.parametrize("name", ["infer_steps", "num_frames", "seed"])
def test_whole_numbers_are_whole(name: str):
    with refused("must be a whole number"):
        options(**{name: 3.5})


def test_numbers_too_large_for_a_float_are_refused_like_others():
    with refused("--seed 1000.*: must lie between"):
        options(seed=10**400)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"height": 100}, "--video_size 100: the height must be a multiple of 16, for example 96"),
        ({"width": 72}, "--video_size 72: the width must be a multiple of 16, for example 64"),
        ({"prompt": " "}, "--prompt '': must not be empty"),
        ({"prompt": "\udcff"}, r"--prompt: is not valid UTF-8 text \(character 1\)"),
        ({"negative_prompt": "ab\udcff"}, r"--negative_prompt: is not valid UTF-8 text \(character 3\)"),
        ({"device": "tpu"}, "--device tpu: must be auto, cpu, mps, cuda or one card such as cuda:1"),
        ({"device": "cuda:x"}, "--device cuda:x: must be"),
        ({"dtype": "int8"}, "--dtype int8: must be one of auto, bfloat16, float16, float32"),
        ({"sample_solver": "heun"}, r"--sample_solver heun: must be one of euler, unipc, dpm\+\+"),
        ({"attn_mode": "xformers"}, "--attn_mode xformers: must be one of"),
        ({"output_type": "gif"}, "--output_type gif: must be one of video, images, latent, both"),
        ({"save_path": Path("out.avi")}, "--save_path out.avi: must be a folder or end in .mp4"),
        (
            {"save_path": Path("out.mp4"), "output_type": "latent"},
            "--save_path out.mp4: must be a folder or end in .safetensors",
        ),
        (
            {"latent_path": Path("x.safetensors"), "output_type": "both"},
            "--output_type both: --latent_path only decodes, to video or images",
        ),
    ],
)
def test_refusals_name_the_flag_the_value_and_the_rule(given: dict[str, Any], line: str):
    with refused(f"^{line}"):
        options(**given)


def test_an_error_of_the_library_names_settings_not_flags():
    with pytest.raises(InputError) as caught:
        options(height=100)
    error = caught.value
    assert (error.field, error.value) == ("height", 100)
    assert error.rule == "the height must be a multiple of 16, for example 96"
    assert str(error) == f"height 100: {error.rule}"


def test_a_record_holds_plain_values_and_no_folders():
    made = options(seed=3, vae=Path("/home/someone/vae.pth"), save_path=Path("out/a.mp4"))
    record = plain_values(made, whole_paths=False)
    assert record["files"]["vae"] == "vae.pth"
    assert (record["seed"], record["save_path"], record["latent_path"]) == (3, "out/a.mp4", None)


@pytest.mark.parametrize("value", [-1, 41, 1.5, "some"])
def test_blocks_to_swap_is_auto_or_a_number_of_blocks(value: object):
    with refused("--blocks_to_swap .*: must"):
        options(blocks_to_swap=value)
    assert options().compute.blocks_to_swap == "auto"
    assert [options(blocks_to_swap=count).compute.blocks_to_swap for count in (0, 40)] == [0, 40]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"weights_from": "ram", "blocks_to_swap": 0}, "--weights_from ram: with --blocks_to_swap 0"),
        ({"weights_from": "ram", "device": "cpu"}, "--weights_from ram: on --device cpu"),
        ({"blocks_to_swap": 3, "device": "mps"}, "--blocks_to_swap 3: streams to --device cuda or cpu, not mps"),
        ({"weights_from": "moon"}, "--weights_from moon: must be one of disk, ram"),
    ],
)
def test_streaming_that_cannot_be_is_refused(given: dict[str, Any], why: str):
    with refused(why):
        options(**given)


def test_streaming_that_can_be_is_not_refused():
    for device in ("auto", "cuda", "cuda:1"):
        assert options(device=device, weights_from="ram", blocks_to_swap=40).compute.weights_from == "ram"
    assert options(device="mps", blocks_to_swap=0).compute.blocks_to_swap == 0
    assert options(device="cpu", blocks_to_swap=40).compute.weights_from == "disk"
