"""The settings of a storyboard: which they are, what stands in their place, what is refused with its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holocine_ext.forecast import told_words
from holocine_ext.layered import preset_of
from holocine_ext.presets import MODELS
from holocine_ext.request import SceneRequest, scene_request
from holocine_ext.story.document import from_document
from holocine_ext.story.settings import OF_FILM
from holocine_ext.story.storyboard import Storyboard
from tests.refused import refused
from wan2.request.compute import Compute
from wan2.request.fields import settings_of
from wan2.request.flat import SETTINGS

PRESET = MODELS["nano"]["full"]


def board(**settings: object) -> Storyboard:
    shots = [{"caption": "A gull"}, {"caption": "The lamp"}]
    return from_document({"global_caption": "A pier.", "shots": shots, "settings": settings}, "in/a.toml")


def asked(settings: dict[str, Any], **given: object) -> SceneRequest:
    made = board(**settings)
    return scene_request(made, preset_of(made, "nano", None), given)


def test_a_storyboard_holds_every_setting_that_is_about_the_film():
    film = {name for name, about in SETTINGS.items() if about.decides}
    film |= {"lora_weight", "lora_weight_high_noise", "soundtrack"}
    machine = {name for name, _ in settings_of(Compute)}
    of_files = {"prompt", "latent_path", "round_timestep"}
    assert film - machine - of_files == {*OF_FILM, "height", "width", "num_frames", "seed"}


def test_a_flag_wins_over_the_storyboard_and_that_over_the_preset():
    settings = {"infer_steps": 7, "guidance_scale": 2, "guidance_scale_high_noise": 4.5, "negative_prompt": "fog"}
    plain = asked(settings, seed=1).base
    assert (plain.sampling.infer_steps, plain.negative_prompt) == (7, "fog")
    assert [expert.guidance_scale for expert in plain.model.experts] == [4.5, 2.0]
    over = asked(settings, seed=1, infer_steps=3, guidance_scale=6.0).base
    assert over.sampling.infer_steps == 3
    assert [expert.guidance_scale for expert in over.model.experts] == [6.0, 6.0]


def test_a_recipe_that_is_given_stands_for_what_it_fills_in():
    assert asked({"infer_steps": 7, "preset": "draft"}).base.sampling.infer_steps == 7
    assert asked({"infer_steps": 7}, preset="draft").base.sampling.infer_steps == 12


def test_size_length_rate_and_seed_may_stand_in_settings_under_either_name():
    made = board(video_length=17, video_size=[32, 48], fps=9, seed=4)
    assert (made.num_frames, made.size, made.fps, made.seed, made.settings) == (17, (32, 48), 9, 4, {})


def test_loras_lie_beside_the_storyboard_and_one_is_a_list_of_one():
    made = board(lora_weight="a.safetensors", lora_multiplier=0.5, lora_mode="branch")
    assert made.settings["lora_weight"] == (Path("in/a.safetensors"),)
    (lora,) = scene_request(made, PRESET, {}).base.model.expert("low").loras
    assert (lora.path, lora.multiplier) == (Path("in/a.safetensors"), 0.5)


def test_the_storyboard_names_the_model_unless_a_flag_does():
    made = board(model="nano", variant="sparse")
    assert preset_of(made, None, None) is MODELS["nano"]["sparse"]
    assert preset_of(made, "holocine", "full") is MODELS["holocine"]["full"]
    assert preset_of(board(), None, None, ("nano", "sparse")) is MODELS["nano"]["sparse"]


def test_what_holds_because_the_storyboard_says_so_is_told():
    made = asked({"infer_steps": 7, "guidance_scale_high_noise": 4.0}, guidance_scale=2.0)
    assert made.making and made.making.of_board == {"infer_steps": 7}
    assert told_words(made.making) == "infer_steps 7 (a.toml)"
    named = board(model="nano", lora_weight="loras/x.safetensors", negative_prompt="fog")
    making = scene_request(named, preset_of(named, None, None), {}).making
    assert making and told_words(making) == "model nano, negative_prompt fog, lora_weight x.safetensors (a.toml)"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 5}, "settings: steps: unknown field; did you mean infer_steps?"),
        ({"width": 5}, "settings: width: unknown field; write size"),
        ({"device": "cpu"}, "settings: device: unknown field; it is no field but a flag of the command line: --device"),
        ({"infer_steps": 0}, "settings: infer_steps 0: must lie between 1 and 1000"),
        ({"infer_steps": "7"}, "settings: infer_steps '7': cannot be used: Expected `int`, got `str`"),
        ({"infer_steps": True}, "settings: infer_steps True: cannot be used"),
        ({"sample_solver": "heun"}, "settings: sample_solver 'heun': must be one of euler"),
        ({"guidance_scale": float("nan")}, "settings: guidance_scale nan: must be a finite number"),
        ({"lora_weight": 5}, "settings: lora_weight 5: cannot be used"),
        ({"model": 5}, "settings: model 5: must be text"),
        ({"model": "mega"}, "settings: model 'mega': must be one of holocine, nano"),
        ({"variant": "half"}, "settings: variant 'half': must be one of full, sparse"),
        ({"shot_mask_type": "x"}, "settings: shot_mask_type 'x': must be one of"),
        ({"preset": "x", "model": "nano"}, "--preset x: must be one of"),
        ({"seed": -1}, "seed -1: must lie between"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], said: str):
    import re

    with refused(f"^(in/a.toml: )?{re.escape(said)}"):
        made = board(**settings)
        scene_request(made, preset_of(made, None, None), {})


def test_a_setting_is_given_once():
    shots = [{"caption": "A gull"}]
    with refused("^a.toml: num_frames: given twice, in settings and outside"):
        from_document(
            {"global_caption": "A", "shots": shots, "num_frames": 5, "settings": {"video_length": 9}}, "a.toml"
        )
    with refused("^a.toml: settings: must hold fields, not text"):
        from_document({"global_caption": "A", "shots": shots, "settings": "x"}, "a.toml")
