"""The film for editing programs: what is written is read back by OpenTimelineIO, and known again as ours."""

from __future__ import annotations

import json
from pathlib import Path

import opentimelineio as otio
import pytest

from holocine_ext.story.timeline import MARK_LINE, Timeline, is_our_edl, is_our_otio

FILM = Timeline("night", "night.mp4", 23.976, [0, 37, 81], ["A gull\nlands", "The lamp"], 7)


def test_opentimelineio_reads_the_timeline():
    read = otio.adapters.read_from_string(json.dumps(FILM.otio()), "otio_json")
    (track,) = read.video_tracks()
    clips = list(track)
    assert (read.name, read.metadata["seed"], [clip.name for clip in clips]) == ("night", 7, ["shot 1", "shot 2"])
    assert [clip.range_in_parent().duration.value for clip in clips] == [37, 44]
    assert read.duration() == otio.opentime.RationalTime(81, 23.976)
    assert clips[1].media_reference.target_url == "night.mp4"
    assert clips[1].source_range.start_time.value == 37


def test_an_edl_counts_frames_at_the_nearest_whole_rate():
    lines = FILM.edl().splitlines()
    assert lines[:2] == ["TITLE: night", "FCM: NON-DROP FRAME"]
    events = [line for line in lines if line[:3].isdigit()]
    assert events[0] == "001  AX       V     C        00:00:00:00 00:00:01:13 00:00:00:00 00:00:01:13"
    assert events[1].split()[4:] == ["00:00:01:13", "00:00:03:09", "00:00:01:13", "00:00:03:09"]
    assert "* COMMENT: A gull lands" in lines and lines.count("* FROM CLIP NAME: night.mp4") == 2
    for word in (word for line in events for word in line.split()[4:]):
        assert otio.opentime.from_timecode(word, 24).to_timecode(24) == word


@pytest.mark.parametrize("text", ["", "x", "[1]", '{"OTIO_SCHEMA": "Timeline.1"}', "[" * 100_000, "* SOFTWARE: other"])
def test_only_our_own_timelines_are_ours(text: str, tmp_path: Path):
    path = tmp_path / "a"
    path.write_text(text)
    assert not is_our_otio(path) and not is_our_edl(path) and not is_our_otio(tmp_path) and not is_our_edl(tmp_path)
    path.write_text(json.dumps(FILM.otio()))
    assert is_our_otio(path)
    path.write_text(FILM.edl())
    assert is_our_edl(path) and MARK_LINE in FILM.edl()
