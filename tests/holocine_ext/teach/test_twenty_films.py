"""The page on teaching, start to end, in short: films drawn, prepared, taught and made again with both LoRAs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import teaching
from holocine_ext import cli
from holocine_ext.evaluate.nano_world import captions, world
from holocine_ext.teach import prepare_cli, train_cli

COMMANDS = {
    "holocine_prepare.py": prepare_cli.main,
    "holocine_train_lora.py": train_cli.main,
    "holocine_generate_video.py": cli.main,
}


def run(script: str, *words: str) -> None:
    """Run one of the commands in this process, which has loaded PyTorch already."""
    assert COMMANDS[script](words) == 0


def test_films_become_loras_and_loras_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(world, "PLACES", dict(world.PLACES))
    monkeypatch.setattr(captions, "PLACES", dict(captions.PLACES))
    monkeypatch.setattr(teaching.world, "PLACES", world.PLACES)
    monkeypatch.setattr(teaching, "run", run)
    teaching.add_place()
    teaching.draw_films(tmp_path, 2)
    looked = ["--held_out", "1", "--validate_every", "1", "--films", "1"]
    teaching.teach(tmp_path, "boards", "sparse", ["--steps", "1", "--rank", "2", *looked])
    record = json.loads((tmp_path / "loras/boards.json").read_text())
    assert [(one["expert"], one["step"]) for one in record["films"]] == [("high", 1), ("low", 1)]
    assert all(0 < one["SCA"] <= 1 and 0 <= one["captions agree"] <= 1 for one in record["films"])
    assert (tmp_path / "loras/boards_films/low_000001.png").is_file()
    monkeypatch.setattr(teaching, "STEPS", ["--infer_steps", "2"])
    teaching.make_films(tmp_path, "with storyboards", 1, "sparse")
    monkeypatch.chdir(tmp_path)
    shown = teaching.table(Path())
    assert "storyboards" in shown and "captions agree" in shown and "SCA" in shown
