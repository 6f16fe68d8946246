"""Where shots lie: the reference figures, the refusals, and what holds for every layout."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holocine_ext.shots.layout import ShotLayout, auto_cuts, plan_layout, repair_cuts, shot_mask
from tests.refused import refused
from wan2.errors import InputError
from wan2.shapes import snap_frames

FIGURES = json.loads((Path(__file__).parents[1] / "data" / "frames.json").read_text(encoding="utf-8"))


def test_every_reference_length_snaps_alike() -> None:
    assert [[n, snap_frames(n)] for n, _ in FIGURES["enforce_4t_plus_1"]] == FIGURES["enforce_4t_plus_1"]


@pytest.mark.parametrize("case", FIGURES["prepare_multishot_inputs"])
def test_cuts_equal_the_reference(case: dict) -> None:
    total = snap_frames(case["total_frames"])
    asked = case["custom_shot_cut_frames"]
    cuts = auto_cuts(total, len(case["shot_captions"])) if asked is None else asked
    assert total == case["result"]["num_frames"]
    assert list(repair_cuts(total, cuts)) == case["result"]["shot_cut_frames"]


@pytest.mark.parametrize("case", FIGURES["shot_indices"])
def test_shot_ids_equal_the_reference(case: dict) -> None:
    layout = ShotLayout(case["num_frames"], repair_cuts(case["num_frames"], case["shot_cut_frames"]), 1)
    assert list(layout.shot_ids) == case["shot_indices"]


def test_a_layout_in_numbers() -> None:
    layout = plan_layout(240, 5, None, 1560)
    assert layout == ShotLayout(241, (49, 97, 145, 193), 1560)
    assert layout.frames == ((0, 49), (49, 97), (97, 145), (145, 193), (193, 241))
    assert layout.latents == ((0, 13), (13, 25), (25, 37), (37, 49), (49, 61))
    assert layout.shots[1] == (13 * 1560, 25 * 1560)
    assert layout.first_frames[1] == (13 * 1560, 14 * 1560)
    assert layout.tokens == 61 * 1560 == 95160


@given(st.integers(1, 400), st.integers(1, 20))
def test_auto_cuts_leave_no_shot_empty(num_frames: int, num_shots: int) -> None:
    room = (snap_frames(num_frames) - 1) // 4 + 1
    try:
        layout = plan_layout(num_frames, num_shots, None, 3)
    except InputError as error:
        assert ("too few" in str(error)) == (num_shots > room)
        assert num_shots * 4 > room * 3  # only a video that is cut to pieces is refused
        return
    assert layout.num_shots == num_shots
    _covers(layout)


@given(st.integers(1, 400), st.lists(st.integers(-10, 410), max_size=12), st.integers(1, 9))
def test_custom_cuts_cover_the_video_or_are_refused(num_frames: int, cuts: list[int], tokens: int) -> None:
    try:
        layout = plan_layout(num_frames, len(cuts) + 1, cuts, tokens)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert all(abs(cut - snapped) <= 2 for cut, snapped in zip(cuts, layout.cuts, strict=True))
    _covers(layout)


@given(st.integers(1, 400), st.lists(st.integers(-10, 410), max_size=30))
def test_repaired_cuts_always_make_a_layout(num_frames: int, cuts: list[int]) -> None:
    total = snap_frames(num_frames)
    _covers(ShotLayout(total, repair_cuts(total, cuts), 2))


def _covers(layout: ShotLayout) -> None:
    """The shots hold every latent frame once, in order, and none is empty."""
    assert list(layout.shot_ids) == sorted(layout.shot_ids)
    assert len(layout.shot_ids) == layout.latent_frames
    assert sorted(set(layout.shot_ids)) == list(range(layout.num_shots))
    covered = [token for a, b in layout.shots for token in range(a, b)]
    assert covered == list(range(layout.tokens))
    assert [a for a, _ in layout.first_frames] == [a for a, _ in layout.shots]
    assert layout.frames[-1][1] == layout.num_frames


@pytest.mark.parametrize(
    ("num_frames", "num_shots", "cuts", "said"),
    [
        (0, 1, None, "--video_length 0: a video has at least 1 frame"),
        (5, 4, None, "--video_length 5: 5 frames are 2 latent frames, too few for 4 shots"),
        (81, 3, [41], "--shot_cut_frames 41: 1 cut for 3 shots; must be 2"),
        (81, 1, [41], "--shot_cut_frames 41: 1 cut for 1 shot; must be 0"),
        (81, 3, [41, 21], "--shot_cut_frames 41 21: out of order"),
        (81, 3, [41, 41], "--shot_cut_frames 41 41: out of order"),
        (81, 3, [40, 42], "--shot_cut_frames 40 42: both snap to frame 41"),
        (81, 2, [0], "--shot_cut_frames 0: outside the video; a cut lies between 1 and 80"),
        (81, 2, [-3], "--shot_cut_frames -3: outside the video"),
        (81, 2, [81], "--shot_cut_frames 81: outside the video"),
        (81, 2, [80], "--shot_cut_frames 80: snaps to frame 81, past the last frame 80"),
    ],
)
def test_a_layout_that_cannot_be(num_frames: int, num_shots: int, cuts: list[int] | None, said: str) -> None:
    with refused(re.escape(said)):
        plan_layout(num_frames, num_shots, cuts, 4)


def test_messages_name_the_field_they_are_told() -> None:
    with refused(re.escape("a.toml: cut_frame 9 5: out of order")):
        plan_layout(81, 3, [9, 5], 4, ("a.toml: num_frames", "a.toml: cut_frame"))


@pytest.mark.parametrize("broken", [(80, (41,), 1), (81, (40,), 1), (81, (41, 41), 1), (81, (81,), 1), (81, (41,), 0)])
def test_a_layout_keeps_its_own_rules(broken: tuple) -> None:
    with pytest.raises(ValueError, match=r"grid|ascend|tokens_per_frame"):
        ShotLayout(*broken)


def test_shot_masks() -> None:
    layout = plan_layout(17, 3, [5, 13], 1)
    assert layout.shot_ids == (0, 0, 1, 1, 2)
    assert shot_mask(layout, "id") == (0.0, 0.0, 1.0, 1.0, 2.0)
    assert shot_mask(layout, "normalized") == (0.0, 0.0, 0.05, 0.05, 0.1)
    assert shot_mask(layout, "alternating") == (0.0, 0.0, 1.0, 1.0, 0.0)
    with refused("^--shot_mask_type ids: must be one of id, normalized, alternating"):
        shot_mask(layout, "ids")
