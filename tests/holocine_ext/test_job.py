"""A job settled from flags, storyboard and preset, and its plan without the files of the published model."""

from __future__ import annotations

from pathlib import Path

import pytest
from holocine_ext.job import Job, plan_job
from holocine_ext.preflight import dry_plan

from holocine_ext.cli import build_parser
from holocine_ext.plan import render_plan
from holocine_ext.presets import MODELS
from wan2.cli.asked import given_values
from wan2.errors import InputError
from wan2.request.presets import NEGATIVE_PROMPT

SCENE = ("--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "The lamp")


def job(*words: str) -> Job:
    return plan_job(given_values(build_parser().parse_args([*SCENE, *words])))


def test_the_defaults_are_those_the_weights_were_published_with():
    options = job().options
    assert (options.infer_steps, options.sample_solver, options.flow_shift) == (50, "euler", 5.0)
    assert (options.guidance_scale, options.guidance_scale_high_noise, options.dual_dit_boundary) == (5.0, 5.0, 0.875)
    assert (options.height, options.width, options.num_frames, options.fps) == (480, 832, 241, 15.0)
    assert options.negative_prompt == NEGATIVE_PROMPT
    assert options.files.dit_low_noise == Path("checkpoints/HoloCine_dit/full/full_low_noise.safetensors")


def test_the_variant_and_the_model_choose_the_files():
    sparse = job("--variant", "sparse").options
    assert sparse.files.dit_high_noise == Path("checkpoints/HoloCine_dit/sparse/sparse_high_noise.safetensors")
    nano = job("--model", "nano").options
    assert nano.files == MODELS["nano"]["full"].files
    assert (nano.height, nano.width, nano.num_frames) == (64, 64, 33)


def test_shot_captions_may_be_given_again_and_again():
    made = job("--shot_captions", "The keeper", "--shot_captions", "The stairs", "The door")
    assert made.captions == ("The tower", "The sea", "The lamp", "The keeper", "The stairs", "The door")
    assert made.layout is not None
    assert made.layout.num_shots == 6


def test_the_contact_sheet_is_written_unless_it_is_refused_or_nothing_is_decoded():
    assert job().contact_sheet
    assert not job("--no_contact_sheet").contact_sheet
    assert not job("--output_type", "latent").contact_sheet


def test_a_long_video_is_warned_about_not_refused():
    assert not job().warnings
    assert "241" in job("--video_length", "401").warnings[0]


def test_a_dry_run_of_the_published_model_needs_none_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    full, sparse = dry_plan(job()), dry_plan(job("--variant", "sparse"))
    assert 9.5e15 < full.negative_flops < 10e15  # 9.74 PFLOP at 241 frames
    assert full.full_flops == full.negative_flops > sparse.negative_flops
    text = render_plan(full)
    assert "--tokenizer: not there" in text
    assert "--dit_high_noise and --dit_low_noise: not there" in text


def test_a_file_that_was_named_must_be_there_even_for_a_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for flag, rule in (("--tokenizer", "no such folder"), ("--dit_low_noise", "No such file")):
        with pytest.raises(InputError, match=f"{flag} absent: {rule}"):
            dry_plan(job(flag, "absent"))
