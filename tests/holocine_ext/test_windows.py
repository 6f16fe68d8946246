"""Films that are longer than the weights take: windows of shots, each holding the first and the last before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import holocine_ext.cli
from holocine_ext.shots.layout import ShotLayout
from holocine_ext.shots.windows import plan_windows
from tests.tiny import TinyModel, at, impatient, reacting
from wan2.events import Stage

Make = Callable[..., Path]
SHOTS = 15
BOARD = {"global_caption": "A lighthouse.", "size": [32, 32], "fps": 8, "seed": 5}


@pytest.fixture
def make(tiny: TinyModel, tmp_path: Path) -> Make:
    """Makes a film of 15 shots of four frames, the first of five; its latents."""
    board = tmp_path / "board.json"
    shots = [{"caption": f"Shot {number}", "frames": 4 + (not number)} for number in range(SHOTS)]

    def run(name: str, *words: str, code: int = 0, **scene: Any) -> Path:  # noqa: ANN401
        board.write_text(json.dumps(BOARD | {"shots": shots} | scene))
        path = tmp_path / f"{name}.mp4"
        flags = [*tiny.flags(), "--device", "cpu", "--infer_steps", "2", "--output_type", "images"]
        told = ["--storyboard", str(board)] if "--take" not in words else []
        assert holocine_ext.cli.main([*flags, *told, *words, "--save_path", str(path)]) == code
        return path.with_suffix(".safetensors")

    return run


def left(path: Path) -> list[str]:
    """The names of all files beside a film but the storyboard."""
    return sorted(other.name for other in path.parent.iterdir() if other.name.startswith(path.stem))


def test_a_long_film_is_one_film_with_one_record(make: Make, tmp_path: Path):
    made = make("film")
    record = json.loads(made.with_suffix(".json").read_text())
    assert left(made) == ["film.json", "film.safetensors", "film_frames", "film_sheet.png"]
    assert len(list((tmp_path / "film_frames").iterdir())) == record["num_frames"] == 4 * SHOTS + 1
    assert len(record["captions"]) == len(record["cuts"]) + 1 == SHOTS
    assert record["windows"] == [{"made": [*range(1, 14)], "held": []}, {"made": [14, 15], "held": [1, 13]}]
    assert record["passes"] == 2 * 2 * 2
    again = make("again", "--take", str(made))
    assert torch.equal(load_file(again)["latents"], load_file(made)["latents"])


@pytest.mark.parametrize("steps", [1, 3])
def test_a_film_that_was_broken_off_goes_on_bit_for_bit(
    make: Make, monkeypatch: pytest.MonkeyPatch, steps: int, capsys: pytest.CaptureFixture[str]
):
    whole = make("whole")
    with monkeypatch.context() as patch:
        patch.setattr("wan2.cli.main.Console", impatient(steps))
        make("film", code=130)
    assert "--resume" in capsys.readouterr().err
    made = make("film", "--resume")
    assert torch.equal(load_file(made)["latents"], load_file(whole)["latents"])
    assert left(made) == [name.replace("whole", "film") for name in left(whole)]
    capsys.readouterr()
    make("film", "--resume")
    assert "film_frames: is there already" in capsys.readouterr().err


def test_a_plan_says_the_windows(make: Make, capsys: pytest.CaptureFixture[str]):
    make("film", "--dry_run")
    said = capsys.readouterr().out
    assert "made in 2 windows; this is the first" in said and "window 2: shots 14 to 15 beside 1 and 13" in said


def test_such_a_film_must_be_named(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "film.mp4").mkdir()
    make("film", code=2)
    assert "is made in windows, and must be named" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["film_window1.json", "film_window2.safetensors", "film.safetensors"])
@pytest.mark.parametrize("words", [(), ("--overwrite",), ("--resume",)], ids=" ".join)
def test_a_file_in_the_way_of_any_window_is_refused_first(
    make: Make, tmp_path: Path, name: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    (tmp_path / name).write_text("mine")
    make("film", *words, code=2)
    assert left(tmp_path / "film.mp4") == [name] and (tmp_path / name).read_text() == "mine"
    said = capsys.readouterr().err
    assert "this program did not make stands; remove or rename it" in said and "to go on" not in said


def test_a_file_that_appears_while_windows_are_made_stays(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    taken = tmp_path / "film.safetensors"
    monkeypatch.setattr("wan2.cli.main.Console", reacting(at(Stage.DENOISE, 1, lambda: taken.write_text("mine"))))
    make("film", code=2)
    assert taken.read_text() == "mine" and "this program did not make stands" in capsys.readouterr().err
    taken.unlink()
    make("film", "--resume")


def test_windows_hold_every_rule():
    for seed in range(300):
        draw = Random(seed)
        lengths = [draw.randint(1, 30) for _ in range(draw.randint(1, 40))]
        layout = ShotLayout(1, (), 4).with_more(lengths[1:])
        room, shots, behind = draw.randint(10, 61), draw.randint(3, 13), draw.choice([0, 0, 3])
        lengths = [b - a for a, b in layout.latents]
        windows = plan_windows(layout, 4 * room - 3, shots, behind)
        assert [shot for window in windows for shot in window.made] == list(range(layout.num_shots))
        assert windows[0].held == ()
        for before, window in pairwise(windows):
            assert window.held == tuple(sorted({0, before.made[-1]}))
        for window in windows:
            fits = sum(lengths[shot] for shot in window.shots) + behind <= room and len(window.shots) <= shots
            assert fits or len(window.made) == 1
