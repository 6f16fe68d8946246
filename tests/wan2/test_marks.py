"""The mark of this program: in every file it makes, in nobody else's, and read without a library."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wan2.plan.marks import MARK, is_our_png, is_our_video, save_png
from wan2.run.video_io import VideoWriter, read_metadata

ROOT = Path(__file__).parents[2]
RECORD = json.dumps({"options": {"prompt": "灯塔"}, "checkpoints": {}, "more": ["x"] * 30_000})
FRAME = np.full((48, 64, 3), 90, np.uint8)


def write(path: Path, metadata: dict[str, str] | None = None) -> Path:
    with VideoWriter(path, 15, (64, 48), metadata or {}, crf=30) as writer:
        writer.write(FRAME)
    return path


def foreign(path: Path, metadata: dict[str, str], flags: str = "+use_metadata_tags") -> Path:
    """A video that another program made with FFmpeg."""
    with av.open(str(path), "w", format="mp4", options={"movflags": flags}) as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(FRAME, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("metadata", [{}, {"comment": "a caption"}, {"comment": RECORD}, {"software": "theirs"}])
def test_every_video_is_known(metadata: dict[str, str], tmp_path: Path):
    path = write(tmp_path / "clip.mp4", metadata)
    assert is_our_video(path)
    assert read_metadata(path)["software"] == MARK
    assert not is_our_png(path)


@pytest.mark.parametrize("flags", ["+use_metadata_tags", "+faststart+use_metadata_tags"])
@pytest.mark.parametrize(
    ("metadata", "ours"),
    [
        ({"comment": RECORD}, True),  # of a version that wrote no mark
        ({}, False),
        ({"title": MARK}, False),
        ({"software": f"{MARK} of another"}, False),
        ({"comment": MARK}, False),
        ({"comment": '{"options": 1}'}, False),
        ({"comment": "[" * 100_000}, False),
        ({"comment": '["options", "checkpoints"]'}, False),
    ],
)
def test_a_video_of_others_is_not(metadata: dict[str, str], ours: bool, flags: str, tmp_path: Path):
    assert is_our_video(foreign(tmp_path / "clip.mp4", metadata, flags)) is ours


def test_what_was_made_of_a_video_is_not_ours(tmp_path: Path):
    kept = read_metadata(write(tmp_path / "clip.mp4", {"comment": RECORD}))
    assert not is_our_video(foreign(tmp_path / "cut.mp4", kept, "+faststart"))


def test_every_picture_is_known(tmp_path: Path):
    save_png(Image.fromarray(FRAME), tmp_path / "picture.png")
    assert is_our_png(tmp_path / "picture.png")
    assert not is_our_video(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert np.array_equal(np.asarray(picture), FRAME)


@pytest.mark.parametrize("texts", [{}, {"Software": "GIMP"}, {"Software": f"{MARK}x"}, {"Comment": MARK}])
def test_a_picture_of_others_is_not(texts: dict[str, str], tmp_path: Path):
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.fromarray(FRAME).save(tmp_path / "picture.png", pnginfo=info)
    assert not is_our_png(tmp_path / "picture.png")


def test_no_file_makes_the_question_fail(tmp_path: Path):
    """Bytes of ours, cut short and altered at random: an answer, whatever it is."""
    picture, video = tmp_path / "a.png", write(tmp_path / "a.mp4", {"comment": RECORD})
    save_png(Image.fromarray(FRAME), picture)
    rng, file = random.Random(0), tmp_path / "altered"
    for content in (picture.read_bytes(), video.read_bytes()):
        for _ in range(300):
            altered = bytearray(content[: rng.randrange(len(content))])
            for _ in range(rng.randrange(9) if altered else 0):
                altered[rng.randrange(min(len(altered), 2000))] = rng.choice((0, 1, 255, rng.randrange(256)))
            file.write_bytes(altered)
            assert {is_our_png(file), is_our_video(file)} <= {True, False}


def test_what_is_no_file_is_not_ours(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "pipe", tmp_path / "loop", tmp_path / "a\0b"):
        assert not is_our_png(path)
        assert not is_our_video(path)


def test_a_box_that_says_it_holds_everything_ends(tmp_path: Path):
    for size in (0, 1, 8, 2**32 - 1):
        (tmp_path / "odd.mp4").write_bytes((size.to_bytes(4, "big") + b"moov") * 10_000)
        assert not is_our_video(tmp_path / "odd.mp4")


def test_asking_loads_no_library(tmp_path: Path):
    path = write(tmp_path / "clip.mp4")
    code = (
        "import sys; from pathlib import Path; from wan2.plan.marks import is_our_png, is_our_video\n"
        f"assert is_our_video(Path({str(path)!r})) and not is_our_png(Path({str(path)!r}))\n"
        "assert not {'torch', 'numpy', 'av', 'PIL'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
