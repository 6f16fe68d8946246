"""What was found out is carried on: everything is opened, tokenised and loaded once, for a video and for waves."""

from __future__ import annotations

from pathlib import Path

import pytest

import holocine_ext.cli
from holocine_ext.presets import MODELS
from tests.counting import counted
from tests.waves import compare, make_alone, make_list, write_list
from wan2.request.flat import FILES, preset_values

NANO = {name: Path(path) for name, path in preset_values(MODELS["nano"]["full"]).items() if name in FILES}
WORDS = ["--model", "nano", "--video_size", "32", "32", "--video_length", "9", "--infer_steps", "2"]
SCENE = ["--global_caption", "The scene is a meadow.", "--shot_captions", "Wide shot.", "Close-up."]


@pytest.mark.parametrize("more", [[], ["--preview", "1"], ["--vram_budget", "1"], ["--export_shots"]])
def test_one_video_opens_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    monkeypatch.setenv("WAN2_CACHE", str(tmp_path / "cache"))
    with counted() as counts:
        assert holocine_ext.cli.main([*WORDS, *SCENE, *more, "--save_path", str(tmp_path / "a.mp4")]) == 0
    files = [path for name, path in NANO.items() if name != "tokenizer"]
    assert {path: counts.headers[path] for path in files} == dict.fromkeys(files, 1)
    assert counts.mapped[NANO["vae"]] == counts.mapped[NANO["t5"]] == 1
    prompts = {text: count for text, count in counts.texts.items() if "[one caption]" not in text}
    assert len(prompts) == 2 and set(prompts.values()) == {1}
    assert set(counts.loaded.values()) == {1} and len(counts.loaded) == 4


def test_a_text_that_was_kept_needs_no_text_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN2_CACHE", str(tmp_path / "cache"))
    for seed, loads in (("1", 1), ("2", 0)):
        with counted() as counts:
            words = [*WORDS, *SCENE, "--seed", seed, "--save_path", str(tmp_path / f"{seed}.mp4")]
            assert holocine_ext.cli.main(words) == 0
        assert counts.loaded["t5"] == loads


def test_a_list_loads_each_model_once_a_wave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN2_CACHE", str(tmp_path / "cache"))
    path = write_list(tmp_path / "list", 6)
    report = make_list(path, tmp_path / "waves", 3)
    assert report.code == 0
    assert all(1 <= report.loaded[name] <= 2 for name in ("full_high_noise", "full_low_noise", "vae", "t5"))
    make_alone(path, tmp_path / "alone")
    assert compare(tmp_path / "waves", tmp_path / "alone") == []
    assert make_list(path, tmp_path / "again", 6).loaded["t5"] == 0
