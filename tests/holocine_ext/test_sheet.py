"""The contact sheet and the exported shots, from frames that come one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from holocine_ext.pictures.sheet import PICTURES, ContactSheet, ShotExport, pick_frames
from holocine_ext.request import shot_paths
from holocine_ext.shots.layout import ShotLayout
from wan2.run.video_io import read_metadata, read_video

LAYOUT = ShotLayout(17, (5, 13), 4)
CAPTIONS = ("A gull lands on the rail.", "灯塔 turns " * 30, "W" * 200)


def frame(index: int, height: int = 32, width: int = 48) -> np.ndarray:
    return np.full((height, width, 3), 10 * index, np.uint8)


@given(st.integers(0, 500), st.integers(1, 300))
def test_picks_are_spread_from_first_to_last(first: int, length: int) -> None:
    picks = pick_frames((first, first + length))
    assert len(picks) == min(length, PICTURES)
    assert (picks[0], picks[-1]) == (first, first + length - 1)
    gaps = [b - a for a, b in zip(picks, picks[1:], strict=False)]
    assert all(gap >= 1 for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("size", [(32, 48), (48, 32), (480, 832)])
def test_a_sheet_shows_the_frames_of_every_shot(size: tuple[int, int], tmp_path: Path) -> None:
    sheet = ContactSheet(LAYOUT, 8, CAPTIONS, "A storm nears. " * 30)
    for index in range(17):
        sheet(index, frame(index, *size))
    sheet.save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        pixels = np.asarray(picture)
    greys = {int(value) for value in np.unique(pixels[(pixels == pixels[..., :1]).all(-1)][:, 0])}
    assert {10 * index for picks in sheet.picks for index in picks} <= greys
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_only_what_is_shown_is_kept() -> None:
    sheet = ContactSheet(ShotLayout(81, (41,), 4), 8, ("a", "b"))
    for index in range(81):
        sheet(index, frame(index % 25))
    assert sorted(sheet._pictures) == sorted({*sheet.picks[0], *sheet.picks[1]})
    assert len(sheet._pictures) == 2 * PICTURES


def test_a_sheet_with_frames_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="never seen"):
        ContactSheet(LAYOUT, 8, CAPTIONS).image()
    with pytest.raises(ValueError, match="1 captions for 3 shots"):
        ContactSheet(LAYOUT, 8, ("a",))


def test_every_shot_is_a_video(tmp_path: Path) -> None:
    with ShotExport(shot_paths(tmp_path / "scene.mp4", 3), LAYOUT, 8, CAPTIONS, crf=10) as export:
        for index in range(17):
            export(index, frame(index))
    assert [path.name for path in export.paths] == ["scene_shot01.mp4", "scene_shot02.mp4", "scene_shot03.mp4"]
    for path, (first, stop) in zip(export.paths, LAYOUT.frames, strict=True):
        video = read_video(path)
        assert video.shape == (stop - first, 32, 48, 3)
        assert abs(video[0].mean() - 10 * first) < 6
    assert read_metadata(export.paths[0])["title"] == "shot 1 of 3"
    assert read_metadata(export.paths[0])["comment"] == CAPTIONS[0]


def test_a_shot_cut_short_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        ShotExport(shot_paths(tmp_path / "scene.mp4", 3), LAYOUT, 8, CAPTIONS, crf=10) as export,
    ):
        for index in range(8):
            export(index, frame(index))
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["scene_shot01.mp4"]
    with pytest.raises(ValueError, match="before frame 0"):
        ShotExport(shot_paths(tmp_path / "scene.mp4", 3), LAYOUT, 8, CAPTIONS, crf=10)(1, frame(1))
