from __future__ import annotations

import pytest

from wan2.shapes import VideoShape, latent_index, snap_frames


@pytest.mark.parametrize(("asked", "snapped"), [(0, 1), (1, 1), (3, 1), (5, 5), (83, 81), (100, 101), (240, 241)])
def test_frames_snap_to_the_nearest_multiple_of_four_plus_one(asked: int, snapped: int) -> None:
    assert snap_frames(asked) == snapped


@pytest.mark.parametrize(("frame", "latent"), [(0, 0), (1, 1), (4, 1), (5, 2), (17, 5), (33, 9)])
def test_a_pixel_frame_lies_in_its_latent_frame(frame: int, latent: int) -> None:
    assert latent_index(frame) == latent


def test_sizes_of_the_published_video() -> None:
    shape = VideoShape(241, 480, 832)
    assert shape.latent == (16, 61, 60, 104)
    assert shape.latent_size(17) == (17, 61, 60, 104)
    assert shape.grid == (61, 30, 52)
    assert (shape.tokens_per_frame, shape.tokens) == (1560, 95160)
