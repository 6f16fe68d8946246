"""Seconds, frames and rates: one meaning of a rate, wherever it is given."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from holocine_ext.cli import build_parser
from holocine_ext.presets import MODELS
from holocine_ext.story.document import from_document
from holocine_ext.story.scene import plan_scene
from wan2.run.video_io import VideoWriter

PRESET = MODELS["holocine"]["sparse"]
SHOTS = [{"caption": "A gull lands.", "seconds": 1000}, {"caption": "The lamp turns.", "seconds": 1.5}]


@pytest.mark.parametrize(
    ("fps", "exact", "cut"),
    [
        (23.976, Fraction(24000, 1001), 23976),
        (29.97, Fraction(30000, 1001), 29970),
        (47.952, Fraction(48000, 1001), 47952),
        (25, Fraction(25), 25000),
        (23.9, Fraction(239, 10), 23900),
    ],
)
def test_a_rate_of_a_file_is_the_rate_of_the_flag_and_of_the_stream(fps: float, exact: Fraction, cut: int):
    board = from_document({"global_caption": "A pier.", "shots": SHOTS, "fps": fps}, "a.json")
    # A thousand seconds are too many frames for a scene: what counts here is how they are counted.
    assert round(board.lengths[0].end(0, float(exact), 0)) == cut
    short = replace(board, lengths=(replace(board.lengths[0], seconds=2.0), board.lengths[1]))
    from_file, from_flag = plan_scene(short, PRESET), plan_scene(replace(short, fps=None), PRESET, fps=fps)
    assert (from_file.fps, from_file.cuts) == (from_flag.fps, from_flag.cuts) == (float(exact), (round(2 * exact),))
    assert from_file.as_record()["fps"] == float(exact)
    assert VideoWriter(Path("a.mp4"), from_file.fps, (64, 48), {}, 12).rate == exact


@pytest.mark.parametrize("flag", ["storyboard", "from_file", "save_path", "latent_path", "vae"])
def test_a_tilde_is_the_home_folder(flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert getattr(build_parser().parse_args([f"--{flag}", "~/a"]), flag) == tmp_path / "a"
    assert getattr(build_parser().parse_args([f"--{flag}", "./~/a"]), flag) == Path("~/a")
