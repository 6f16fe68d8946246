"""The page on teaching, start to end, in short: films drawn, prepared, taught and made again with both LoRAs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import teaching
from holocine_ext.evaluate.nano_world import captions, world


def test_films_become_loras_and_loras_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(world, "PLACES", dict(world.PLACES))
    monkeypatch.setattr(captions, "PLACES", dict(captions.PLACES))
    monkeypatch.setattr(teaching.world, "PLACES", world.PLACES)
    teaching.add_place()
    teaching.draw_films(tmp_path, 2)
    teaching.teach(tmp_path, "boards", "sparse", ["--steps", "1", "--rank", "2"])
    assert {path.name for path in (tmp_path / "loras").iterdir()} == {
        "boards.json", "boards_high_noise.safetensors", "boards_low_noise.safetensors",
    }  # fmt: skip
    monkeypatch.setattr(teaching, "STEPS", ["--infer_steps", "2"])
    teaching.make_films(tmp_path, "with storyboards", 1, "sparse")
    shown = teaching.table(tmp_path)
    assert "new place, with" in shown and "captions agree" in shown and "SCA" in shown
