"""The writer of storyboards, before an endpoint of its own: what is asked, what is taken, what stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holocine_ext.presets import MODELS
from holocine_ext.story.as_text import as_text
from holocine_ext.story.boards import from_file
from holocine_ext.story.scene import plan_scene
from holocine_ext.write.cli import main
from tests.holocine_ext.answers import Model, served_model  # noqa: F401 - a fixture

LONG = "word " * 200


def board(*captions: str, shared: str = "A pier. [character1] is a keeper.") -> str:
    return json.dumps({"global_caption": shared, "shots": [{"caption": caption} for caption in captions]})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(model: Model, *words: str) -> int:
    return main([*words, "--endpoint", model.address, "--llm", "small"])


def test_a_storyboard_of_the_shots_and_seconds_that_were_asked_for(model: Model, capsys: pytest.CaptureFixture[str]):
    model.answers = [board("Wide shot of [character1].", "Close-up of the lamp.", "Low-angle shot of the sea.")]
    assert run(model, "a keeper", "--shots", "3", "--seconds", "10", "--save_path", "a.toml") == 0
    assert capsys.readouterr().out == "a.toml\n"
    scene = plan_scene(from_file(Path("a.toml")), MODELS["holocine"]["sparse"])
    assert (scene.num_frames, scene.cuts, scene.num_shots) == (150, (50, 100), 3)
    (question,) = model.questions
    assert question["response_format"]["json_schema"]["schema"]["required"] == ["global_caption", "shots"]
    text = question["messages"][1]["content"]
    assert text.startswith("a keeper\n\nWrite exactly 3 shots.") and "at most 83" in text
    assert "The shots last 3.3333, 3.3333, 3.3333 seconds." in text


def test_a_server_without_schemas_is_asked_for_json_in_words(model: Model):
    model.knows_schemas, model.answers = False, [f"Sure!\n```json\n{board('Wide shot.')}\n```"]
    assert run(model, "a keeper", "--shots", "1", "--save_path", "a.json") == 0
    assert ["response_format" in question for question in model.questions] == [True, False]
    assert from_file(Path("a.json")).shot_captions == ("Wide shot.",)


def test_shots_that_are_too_long_are_asked_for_again_and_no_others(model: Model):
    model.answers = [board("First.", LONG), board("Other.", LONG), board("Other.", "Second.")]
    assert run(model, "a keeper", "--shots", "2") == 0
    assert from_file(Path("storyboard.toml")).shot_captions == ("First.", "Second.")
    assert "These have more than 125 words" in model.questions[1]["messages"][2]["content"]


def test_shots_that_stay_too_long_are_said(model: Model, capsys: pytest.CaptureFixture[str]):
    model.content = board("word " * 260)
    assert run(model, "a keeper", "--shots", "1") == 0
    assert "shot 1 has 260 words, more than its 250" in capsys.readouterr().err


def test_only_what_is_missing_is_filled_in(model: Model, folder: Path):
    (folder / "in.toml").write_text(
        'global_caption = ""\nfps = 12\n[settings]\ninfer_steps = 9\n[[shots]]\ncaption = "Mine."\nseconds = 2\n'
        '[[shots]]\ncaption = ""\nseconds = 3\n'
    )
    model.answers = [board("Not mine.", "Close-up.")]
    assert run(model, "a keeper", "--fill", "in.toml", "--save_path", "out.yaml") == 0
    made = from_file(Path("out.yaml"))
    assert (made.shot_captions, made.fps, made.settings) == (("Mine.", "Close-up."), 12, {"infer_steps": 9})
    assert (
        "This is written already and stays; repeat it as it is:\nshot 1: Mine."
        in (model.questions[0]["messages"][1]["content"])
    )


def test_an_answer_that_is_no_storyboard_is_asked_for_again(model: Model):
    model.answers = ["I cannot.", board("One.", "Two."), board("One.")]
    assert run(model, "a keeper", "--shots", "1") == 0
    assert len(model.questions) == 3


def test_without_an_endpoint_there_is_a_skeleton_to_fill_in(folder: Path):
    assert main(["a keeper in the rain", "--shots", "2", "--seconds", "4", "2"]) == 0
    text = (folder / "storyboard.toml").read_text()
    assert text.startswith("# Captions are missing") and text.count('caption = ""') == 2
    assert 'global_caption = "a keeper in the rain"' in text and "seconds = 4.0" in text


@pytest.mark.parametrize("suffix", [".toml", ".json", ".yaml"])
def test_what_is_written_is_read_again(suffix: str, folder: Path):
    document: dict[str, Any] = {
        "global_caption": 'A "pier" \x7f\n[ann b] \\ ü.',
        "fps": 23.976,
        "size": [480, 832],
        "characters": {"ann b": "a keeper"},
        "settings": {"infer_steps": 5, "lora_partial": True, "lora_weight": ["a.safetensors"]},
        "shots": [{"caption": "[ann b] waits", "seconds": 2.5}, {"caption": "The lamp", "seconds": 3}],
    }
    path = folder / f"a{suffix}"
    path.write_text(as_text(document, path, "a remark"), encoding="utf-8")
    made = from_file(path)
    assert made.settings["lora_weight"] == (folder / "a.safetensors",)
    assert (made.shot_captions, made.size) == (("[character1] waits", "The lamp"), (480, 832))


def refusals() -> list[tuple[list[str], str]]:
    endpoint = ["--endpoint", "http://127.0.0.1:9/v1", "--llm", "x"]
    return [
        ([], "nothing to write about"),
        (["a", "--shots", "0"], "--shots 0: must lie between 1 and 13"),
        (["a", "--shots", "14"], "--shots 14: must lie between 1 and 13"),
        (["a", "--shots", "3", "--seconds", "1", "2"], "--seconds: 2 for 3 shots"),
        (["a", "--seconds", "0"], "--seconds 0.0: must lie between"),
        (["a", "--seconds", "nan"], "--seconds nan: must be a finite number"),
        (["a", "--save_path", "a.txt"], "--save_path a.txt: must end in .toml"),
        (["a", "--save_path", "there.toml"], "--save_path there.toml: is there already"),
        (["a", "--save_path", "no/a.toml"], "--save_path no/a.toml: its folder is not there"),
        (["a", "--endpoint", "http://x/v1"], "--llm: --endpoint and --llm go together"),
        (["a", "--llm", "x"], "--endpoint: --endpoint and --llm go together"),
        (["a", "--endpoint", "x", "--llm", "x"], "--endpoint x: must be an address"),
        (["a", "--endpoint", "http://[x/v1", "--llm", "x"], "--endpoint http://[x/v1: is no address"),
        (["a", *endpoint], "--endpoint http://127.0.0.1:9/v1: does not answer"),
        (["x" * 5000, *endpoint], "--brief: must be a few words"),
        (["--fill", "absent.toml"], "--fill absent.toml: no such file"),
        (["--fill", "full.toml"], "--fill full.toml: has every caption already"),
        (["--fill", "there.toml"], "--fill there.toml: has no list of shots"),
        (["--fill", "full.toml", "--shots", "3"], "--shots: the storyboard has its shots"),
    ]


@pytest.mark.parametrize(("words", "line"), refusals(), ids=[line[:40] for _, line in refusals()])
def test_what_cannot_be_written(words: list[str], line: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "there.toml").write_text("x = 1")
    (folder / "full.toml").write_text('global_caption = "A"\n[[shots]]\ncaption = "B"\n')
    before = {path.name for path in folder.iterdir()}
    assert main(words) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"holocine_write_storyboard: {line}")
    assert {path.name for path in folder.iterdir()} == before
