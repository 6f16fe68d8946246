"""Mp4 files: what goes in comes back, and nothing half written is ever left."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.refused import refused
from wan2.errors import InputError, RunError
from wan2.plan.marks import is_our_video, video_record
from wan2.plan.outputs import Chapter
from wan2.plan.sound import check_sound
from wan2.request.output import CODECS
from wan2.run.codecs import BT709, LIMITED_RANGE, Container
from wan2.run.video_io import VideoWriter, read_metadata, read_video

HEIGHT, WIDTH = 48, 64
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 50, 120)]
CLIP = np.stack([np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for colour in COLOURS])


def write(path: Path, fps: float | Fraction = 15, metadata: dict[str, str] | None = None) -> Path:
    with VideoWriter(path, fps, (WIDTH, HEIGHT), metadata or {}, crf=12) as writer:
        for frame in CLIP:
            writer.write(frame)
    return path


def test_frames_come_back_in_order_and_in_their_colours(tmp_path: Path) -> None:
    read = read_video(write(tmp_path / "clip.mp4"))
    assert read.shape == CLIP.shape
    assert np.abs(read.astype(int) - CLIP).max() <= 3


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        *[
            (rate, Fraction(rate).limit_denominator(1001))
            for rate in (15, 16.0, 12.5, 23.9, 24.1, 29.5, 0.1, 240, 9.99)
        ],
        *[(rate, Fraction(24000, 1001)) for rate in (23.976, 23.98, 24000 / 1001, Fraction(24000, 1001))],
        (29.97, Fraction(30000, 1001)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (47.952, Fraction(48000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        (14.985, Fraction(15000, 1001)),
    ],
)
def test_rate_is_exact(tmp_path: Path, fps: float | Fraction, expected: Fraction) -> None:
    with av.open(str(write(tmp_path / "clip.mp4", fps))) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == expected
        assert [frame.pts * frame.time_base for frame in container.decode(stream)] == [
            i / expected for i in range(len(CLIP))
        ]


def test_browsers_can_play_it(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4")
    content = path.read_bytes()
    assert content[4:8] == b"ftyp"
    assert content.find(b"moov") < content.find(b"mdat")
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert {codec.colorspace, codec.color_primaries, codec.color_trc} == {BT709}
        assert codec.color_range == LIMITED_RANGE


def test_metadata_survives_under_any_name(tmp_path: Path) -> None:
    record = json.dumps({"prompt": '灯塔 "a" ; = # \\ \n', "sigmas": [1 / 3] * 20_000}, ensure_ascii=False)
    metadata = {"title": "A gull", "run_record": record, "x.y-z": "1,2"}
    read = read_metadata(write(tmp_path / "clip.mp4", metadata=metadata))
    assert {name: read[name] for name in metadata} == metadata


def test_a_failure_leaves_nothing_and_the_older_file_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), VideoWriter(path, 15, (WIDTH, HEIGHT), {}, crf=12) as writer:
        writer.write(CLIP[0])
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 15, (WIDTH, HEIGHT), {}, crf=12) as writer:
        writer.write(CLIP[0])
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_without_frames_is_no_success(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match="not one frame"),
        VideoWriter(tmp_path / "clip.mp4", 15, (WIDTH, HEIGHT), {}, 12),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="48x64"), VideoWriter(tmp_path / "c.mp4", 15, (WIDTH, HEIGHT), {}, 12) as writer:
        writer.write(CLIP[0, ::2])


@pytest.mark.parametrize(
    "name",
    [
        "10:30.mp4",
        "pipe:",
        "concat:a|b.mp4",
        "-y.mp4",
        "100%.mp4",
        "a%03d.mp4",
        "a b?#.mp4",
        "file:a.mp4",
        "~",
        "\udce9.mp4",
    ],
)
def test_a_name_is_only_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name)):
        write(path, metadata={"title": name.encode(errors="replace").decode()})
        assert read_video(path).shape == CLIP.shape
        assert read_metadata(path)["title"] == name.encode(errors="replace").decode()
    assert list(Path().iterdir()) == [Path(name)]


def test_a_caller_gives_the_temporary_name(tmp_path: Path) -> None:
    given = []

    @contextmanager
    def whole(path: Path) -> Iterator[Path]:
        given.append(path)
        yield tmp_path / "other.mp4"

    with VideoWriter(tmp_path / "clip.mp4", 15, (WIDTH, HEIGHT), {}, 12, Container(whole=whole)) as writer:
        writer.write(CLIP[0])
    assert given == [tmp_path / "clip.mp4"]
    assert read_video(tmp_path / "other.mp4").shape == (1, HEIGHT, WIDTH, 3)
    assert list(tmp_path.iterdir()) == [tmp_path / "other.mp4"]


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a video")
    for path in (other, tmp_path / "absent.mp4", tmp_path):
        with pytest.raises(InputError, match="is not a video"):
            read_video(path)
        with pytest.raises(InputError, match="is not a video"):
            read_metadata(path)


def tone(path: Path, seconds: float, rate: int = 44100) -> Path:
    """A file with a tone in both ears."""
    times = np.arange(round(seconds * rate)) / rate
    samples = (np.sin(2 * np.pi * 440 * times) * 12000).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(samples, 2).tobytes())
    return path


CHAPTERS = (Chapter(0, 3, "1. A gull"), Chapter(3, 7, "2. Ä"))


@pytest.mark.parametrize("codec", list(CODECS))
def test_every_codec_keeps_cuts_chapters_sound_and_the_mark(codec: str, tmp_path: Path):
    path = tmp_path / f"clip{CODECS[codec]}"
    made = Container(codec, CHAPTERS, tone(tmp_path / "a.wav", 2.0))
    with VideoWriter(path, 15, (WIDTH, HEIGHT), {"comment": '{"a": 1}'}, 12, made) as writer:
        for frame in CLIP:
            writer.write(frame)
    assert is_our_video(path) and video_record(path) == b'{"a": 1}'
    assert read_metadata(path)["comment"] == '{"a": 1}'
    read = read_video(path)
    assert np.abs(read.astype(int) - CLIP).max() <= (0 if codec == "ffv1" else 6)
    with av.open(str(path)) as container:
        found = container.chapters()
        chapters = [(round(float(c["start"] * c["time_base"]) * 15), c["metadata"]["title"]) for c in found]
        assert chapters == [(0, "1. A gull"), (3, "2. Ä")]
        video = container.streams.video[0]
        assert video.codec_context.name == {"h265": "hevc"}.get(codec, codec)
        keys = [index for index, frame in enumerate(container.decode(video)) if frame.key_frame]
        assert {0, 3} <= set(keys) and (codec != "h264" or keys == [0, 3])
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        assert abs(samples / 48000 - len(CLIP) / 15) < 0.03


def test_sound_that_is_shorter_ends_before_the_video(tmp_path: Path):
    made = Container(soundtrack=tone(tmp_path / "a.wav", 0.2))
    with VideoWriter(tmp_path / "clip.mp4", 15, (WIDTH, HEIGHT), {}, 12, made) as writer:
        for frame in CLIP:
            writer.write(frame)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        seconds = sum(frame.samples for frame in container.decode(audio=0)) / 48000
    assert 0.19 < seconds < 0.25 and len(read_video(tmp_path / "clip.mp4")) == len(CLIP)


@pytest.mark.parametrize(
    ("name", "said"),
    [("absent.wav", "no such file"), ("words.wav", "is no sound that can be read"), ("clip.mp4", "has no sound in it")],
)
def test_what_is_no_sound_is_refused(name: str, said: str, tmp_path: Path):
    write(tmp_path / "clip.mp4")
    (tmp_path / "words.wav").write_text("la la la")
    with refused(f"^--soundtrack .*{name}: {said}"):
        check_sound(tmp_path / name)
