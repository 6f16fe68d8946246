"""The plan that the page is told while a board is written, and where it says what would be refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from holocine_ext.studio.answer import Planner
from holocine_ext.studio.asking import ASKED, Asked
from holocine_ext.studio.models import Places
from holocine_ext.studio.speed import Speeds
from tests.tiny import TinyModel

BOARD: dict[str, Any] = {
    "global_caption": "The scene is a meadow. [character1] is a red ball.",
    "num_frames": 33,
    "shots": [
        {"caption": "Wide shot of [character1] moving right by day."},
        {"caption": "Close-up of [character1] standing still at night.", "cut_frame": 14},
    ],
}


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    folder = tmp_path_factory.mktemp("film")
    return Planner(folder / "takes", folder / "cache", Speeds(folder / "queue"))


def answer(planner: Planner, settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return planner.answer(Asked(Path("/film"), "scene.json", copy.deepcopy(BOARD) | changes, settings or {}))


def test_a_plan_tells_cuts_tokens_and_cost(planner: Planner):
    plan = answer(planner)
    assert (plan["num_frames"], plan["shots"], plan["asked"]) == (33, [[0, 13], [13, 33]], [None, 14])
    text = plan["text"]
    assert text["shared"] + sum(text["shots"]) <= text["tokens"] and not text["estimated"]
    assert plan["memory"]["peak"] > 0 and plan["words"].startswith("video ")


def test_the_released_model_is_planned_without_its_files(planner: Planner):
    plan = answer(planner, {"model": "holocine", "variant": "sparse"}, num_frames=241)
    assert plan["text"]["estimated"] and plan["memory"]["peak"] > 1e10 and plan["width"] == 832


@pytest.mark.parametrize(
    ("changes", "settings", "field", "shot"),
    [
        ({"shots": [{"caption": "Wide"}, {"caption": " "}]}, {}, "caption", 2),
        ({"shots": [{"caption": "A [shot cut] B"}]}, {}, "caption", 1),
        ({"global_caption": ""}, {}, "global_caption", None),
        ({"shots": []}, {}, "shots", None),
        ({"characters": {"2": "a cat"}}, {}, "characters", None),
        ({}, {"infer_steps": 0}, "infer_steps", None),
        ({}, {"infer_steps": "many"}, "infer_steps", None),
        ({}, {"model": "other"}, "model", None),
        ({}, {"preset": "lightning"}, "preset", None),
        ({}, {"vram_budget": 0.001}, "vram_budget", None),
    ],
)
def test_what_would_be_refused_stands_at_its_field(
    changes: dict[str, Any], settings: dict[str, Any], field: str, shot: int | None, planner: Planner
):
    problem = answer(planner, settings, **changes)["problem"]
    assert (problem["field"], problem["shot"]) == (field, shot) and problem["text"]


def test_weights_are_found_once_by_what_they_are(tmp_path: Path, tiny: TinyModel):
    film = tmp_path / "film"
    film.mkdir()
    found = Places(film).look_in(tiny.root)
    assert found["sparse, dit_high_noise"] == tiny.expert("high", "sparse") and found["full, vae"] == tiny.vae
    asked = Asked(film, "scene.json", BOARD, {"model": "holocine", "variant": "sparse"})
    model = asked.request(save_path=film).base.model
    assert (model.expert("low").path, model.tokenizer) == (tiny.expert("low", "sparse"), tiny.tokenizer)
    nano = Asked(film, "scene.json", BOARD, {"model": "nano"}).request(save_path=film).base.model
    assert nano.vae != tiny.vae
    (film / "models.json").write_text('{"sparse": {"vae": 3, "prompt": "x"}, "full": []}')
    assert Places(film).values("sparse") == Places(film).values("full") == {}


def test_nothing_that_names_a_file_can_be_asked_for(planner: Planner):
    assert not ASKED & {"save_path", "resume", "latent_path", "vae", "t5", "tokenizer", "lora_weight", "dit_low_noise"}
    plan = answer(planner, {"save_path": "/etc/x", "vae": "/etc/passwd", "resume": "/etc/passwd"})
    assert "problem" not in plan
