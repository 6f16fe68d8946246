"""Which frames a clip takes: labels on the grid, no frame of another shot, lengths, even numbers of shots."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holocine_ext.shots.layout import ShotLayout
from holocine_ext.story.boards import from_file
from holocine_ext.teach.boards import board_text
from holocine_ext.teach.cutting import Clip, Cutting, Film, FilmShot, on_grid, whole_clip
from holocine_ext.teach.gather import gather
from tests.refused import refused

CUTTING = Cutting(height=64, width=64, fps=8.0, lengths=(5.0,), shortest=0.5)


def shots_of(lengths: list[int], fps: float, name: str = "film") -> list[FilmShot]:
    film = Film(Path(f"{name}.mp4"), sum(lengths), fps, (64, 64))
    edges = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    return [FilmShot(film, a, b) for a, b in zip(edges, edges[1:], strict=False)]


def test_the_grid_takes_the_most_frames_that_fit():
    assert [on_grid(n, True) for n in (1, 4, 5, 8, 9)] == [1, 1, 5, 5, 9]
    assert [on_grid(n, False) for n in (3, 4, 7, 8)] == [0, 4, 4, 8]


@given(
    lengths=st.lists(st.integers(10, 400), min_size=1, max_size=12),
    film_fps=st.sampled_from([8.0, 23.976, 24.0, 25.0, 30.0, 59.94]),
    fps=st.sampled_from([8.0, 15.0, 16.0, 24.0]),
)
@settings(max_examples=150, deadline=None)
def test_every_frame_of_a_clip_lies_in_the_shot_of_its_label(lengths: list[int], film_fps: float, fps: float):
    shots = shots_of(lengths, film_fps)
    if any(not on_grid(shot.sampled(fps), number == 0) for number, shot in enumerate(shots)):
        with refused("it needs 4"):
            whole_clip("film", shots, "A film.", fps)
        return
    clip = whole_clip("film", shots, "A film.", fps)
    layout = ShotLayout(clip.num_frames, clip.cuts, 1)  # refuses whatever is not on the grid
    sources = clip.sources(fps)
    assert len(sources) == clip.num_frames and sources == sorted(sources)
    for shot, (a, b) in zip(shots, layout.frames, strict=True):
        assert all(shot.first <= source < shot.stop for source in sources[a:b])
        assert sources[a] == shot.first


@given(lengths=st.lists(st.integers(2, 90), min_size=1, max_size=60), fps=st.sampled_from([8.0, 24.0]))
@settings(max_examples=80, deadline=None)
def test_clips_have_their_lengths_and_share_no_shot(lengths: list[int], fps: float):
    cutting = replace(CUTTING, lengths=(2.0, 5.0), most_shots=4)
    runs = [shots_of(lengths, fps), shots_of(lengths[::-1], fps, "other")]
    clips, left = gather(runs, cutting)
    used = [shot for clip in clips for shot in clip.shots]
    assert len(set(used)) == len(used) and set(used) | set(left) == {shot for run in runs for shot in run}
    for clip in clips:
        seconds = clip.num_frames / cutting.fps
        assert any(0.9 * target <= seconds <= 1.1 * target for target in cutting.lengths)
        assert len(clip.shots) <= 4 and {shot.film for shot in clip.shots} == {clip.film}
        assert all(a.stop == b.first for a, b in zip(clip.shots, clip.shots[1:], strict=False))


def test_numbers_of_shots_are_even():
    clips, _ = gather([shots_of([10] * 400, 8.0)], replace(CUTTING, lengths=(2.0, 3.0, 4.0, 5.0)))
    counts = Counter(len(clip.shots) for clip in clips)
    assert len(counts) >= 3 and max(counts.values()) - min(counts.values()) <= 1


def test_a_long_shot_gives_a_clip_of_one_shot_cut_to_length():
    (clip,), _ = gather([shots_of([400], 8.0)], CUTTING)
    assert clip.counts == (41,) and clip.name == "film-001"


def test_the_board_of_a_clip_is_a_storyboard_that_says_the_same(tmp_path: Path):
    awkward = 'She says "no\\yes".\u2028Tab\t, caf\u00e9.'
    clip = whole_clip("film", shots_of([40, 40], 8.0), "", 8.0).captioned("A \u706f.", [awkward, "Wide."])
    path = tmp_path / "film.toml"
    path.write_text(board_text(clip, CUTTING), encoding="utf-8")
    board = from_file(path)
    assert (board.global_caption, board.shot_captions) == ("A \u706f.", (awkward, "Wide."))
    assert (board.shot_cut_frames, board.num_frames, board.fps, board.size) == (clip.cuts, clip.num_frames, 8, (64, 64))


def test_a_board_with_captions_to_write_is_refused_until_they_are_written(tmp_path: Path):
    path = tmp_path / "film.toml"
    path.write_text(board_text(whole_clip("film", shots_of([40, 40], 8.0), "", 8.0), CUTTING), encoding="utf-8")
    assert "write what all shots share" in path.read_text()
    with refused("global_caption.*is empty"):
        from_file(path)


def test_one_shot_without_a_title_is_a_plain_prompt(tmp_path: Path):
    clip = whole_clip("film", shots_of([40], 8.0), "", 8.0).captioned("", ["A red ball, wide shot."])
    (tmp_path / "film.toml").write_text(board_text(clip, CUTTING), encoding="utf-8")
    assert from_file(tmp_path / "film.toml").prompt == "A red ball, wide shot."
    assert isinstance(clip, Clip) and clip.is_captioned


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"height": 60}, "height 60: the height must be a multiple of 16|--video_size|height"),
        ({"lengths": (0.0,)}, "--lengths 0.0: must lie between"),
        ({"tolerance": 0.6}, "--tolerance 0.6: must lie between"),
        ({"most_shots": 0}, "--most_shots 0: must lie between"),
        ({"fps": float("nan")}, "--fps nan: must be a finite number"),
    ],
)
def test_cutting_refuses(changes: dict[str, object], said: str):
    with refused(said):
        replace(CUTTING, **changes)
