"""A scene settled from flags, storyboard and preset."""

from __future__ import annotations

from pathlib import Path

import pytest

from holocine_ext.asked import asked
from holocine_ext.cli import build_parser
from holocine_ext.presets import MODELS
from holocine_ext.request import SceneRequest
from wan2.cli.asked import given_values
from wan2.errors import InputError
from wan2.request.request import NEGATIVE_PROMPT

SCENE = ("--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "The lamp")


def scene(*words: str) -> SceneRequest:
    return asked(given_values(build_parser().parse_args([*SCENE, *words])))


def test_the_defaults_are_those_the_weights_were_published_with() -> None:
    request = scene().base
    sampling, model = request.sampling, request.model
    assert (sampling.infer_steps, sampling.sample_solver, sampling.flow_shift) == (50, "euler", 5.0)
    assert [expert.guidance_scale for expert in model.experts] == [5.0, 5.0]
    assert model.dual_dit_boundary == 0.875
    assert (request.height, request.width, request.num_frames, request.fps) == (480, 832, 241, 15.0)
    assert request.negative_prompt == NEGATIVE_PROMPT
    assert model.expert("low").path == Path("checkpoints/HoloCine_dit/full/full_low_noise.safetensors")


def test_the_variant_and_the_model_choose_the_files() -> None:
    sparse = scene("--variant", "sparse").base.model
    assert sparse.expert("high").path == Path("checkpoints/HoloCine_dit/sparse/sparse_high_noise.safetensors")
    nano = scene("--model", "nano").base
    assert nano.model == MODELS["nano"]["full"].model
    assert (nano.height, nano.width, nano.num_frames) == (64, 64, 33)


def test_shot_captions_may_be_given_again_and_again() -> None:
    made = scene("--shot_captions", "The keeper", "--shot_captions", "The stairs", "The door")
    assert made.captions == ("The tower", "The sea", "The lamp", "The keeper", "The stairs", "The door")
    assert made.layout is not None
    assert made.layout.num_shots == 6


def test_the_contact_sheet_is_written_unless_it_is_refused_or_nothing_is_decoded() -> None:
    assert scene().shown.contact_sheet
    assert not scene("--no_contact_sheet").shown.contact_sheet
    assert not scene("--output_type", "latent").shown.contact_sheet
    with pytest.raises(InputError, match="contact_sheet: no frames are decoded"):
        scene("--contact_sheet", "--output_type", "latent")


def test_a_long_video_is_warned_about_not_refused() -> None:
    assert not scene().warnings
    assert "241" in scene("--video_length", "401").warnings[0]
