"""Boards that people have: other programs' lists, HoloCine's own arguments, times in a text, answers of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holocine_ext.presets import MODELS
from holocine_ext.story.boards import from_arguments, from_file, from_value
from holocine_ext.story.document import from_document
from holocine_ext.story.embedded import json_in
from holocine_ext.story.scene import plan_scene
from holocine_ext.story.storyboard import Storyboard
from tests.refused import refused

PRESET = MODELS["holocine"]["sparse"]
SHARED = "A pier in a storm."
OURS = {
    "global_caption": SHARED,
    "shots": [{"caption": "A gull lands", "seconds": 2}, {"caption": "The lamp", "seconds": 3}],
}


def scene_of(board: Storyboard, **flags: float) -> tuple[str, int, tuple[int, ...] | None]:
    scene = plan_scene(board, PRESET, **flags)  # type: ignore[arg-type]
    return board.prompt, scene.num_frames, scene.cuts


WANTED = scene_of(from_document(OURS, "a.json"))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {
                "style": SHARED,
                "scenes": [{"prompt": "A gull lands", "duration": 2}, {"prompt": "The lamp", "duration": "3 s"}],
            },
            "2 shots, caption from prompt, seconds from duration; what they share from style",
        ),
        (
            {
                "title": "x",
                "global_prompt": SHARED,
                "shots": [
                    {"id": 1, "text": "A gull lands", "start": 0, "end": 2},
                    {"id": 2, "text": "The lamp", "start": 2.0, "end": "0:05"},
                ],
            },
            "caption from text, seconds from start, end; what they share from global_prompt; left out: title, id",
        ),
        (
            {
                "scene": SHARED,
                "timeline": [{"time": "0:00 - 0:02", "action": "A gull lands"}, {"time": "2-5s", "action": "The lamp"}],
            },
            "seconds from time",
        ),
        (
            {
                "global_caption": SHARED,
                "shots": [
                    {"caption": "A gull lands", "start_frame": 0, "end_frame": 29},
                    {"caption": "The lamp", "start_frame": 30, "end_frame": 74},
                ],
            },
            "frames from start_frame, end_frame",
        ),
        (
            {
                "global_caption": SHARED,
                "shots": [
                    {"caption": "A gull lands", "start_frame": 0, "end_frame": 30},
                    {"caption": "The lamp", "start_frame": 30, "end_frame": 75},
                ],
            },
            "frames from start_frame, end_frame",
        ),
        (
            {
                "location": "A pier in a storm.",
                "clips": [
                    {"description": "A gull lands", "frames": "0-29"},
                    {"description": "The lamp", "frames": "30-74"},
                ],
            },
            "frames from frames",
        ),
    ],
)
def test_lists_of_other_programs_are_read_and_said(document: dict[str, Any], words: str):
    board = from_value(document, "a.json")
    assert scene_of(board) == WANTED
    assert board.notes[0].startswith("a.json: read as ") and words in board.notes[0]


def test_a_bare_list_has_no_shared_caption_and_says_so():
    board = from_value([{"prompt": "A gull lands"}, {"prompt": "The lamp"}], "a.json")
    assert (board.global_caption, board.shot_captions) == ("This scene contains 2 shots.", ("A gull lands", "The lamp"))
    assert "nothing says what all of them share (global_caption)" in board.notes[0]


def test_parts_of_a_caption_come_in_the_order_in_which_captions_are_read():
    shot = {"camera": "slow pan", "action": "She waits", "shot_type": "Wide shot", "dialogue": "Hello"}
    board = from_value({"setting": "A pier.", "shots": [shot]}, "a.json")
    assert board.shot_captions == ("Wide shot. She waits. slow pan.",)
    assert board.notes[0].endswith("left out: dialogue")


def test_people_of_a_list_are_called_by_their_numbers():
    people = [{"name": "Mara", "description": "A woman in a red coat"}]
    board = from_value({"setting": "A pier.", "characters": people, "shots": [{"action": "Mara waits"}]}, "a.json")
    assert board.shot_captions == ("[character1] waits",)
    assert "[character1] is a woman in a red coat." in (board.global_caption or "")


def test_the_arguments_of_holocine_own_script():
    arguments = {
        "global_caption": SHARED,
        "shot_captions": ["A gull lands", "The lamp"],
        "num_frames": 81,
        "shot_cut_frames": [37],
        "height": 480,
        "width": 832,
        "num_inference_steps": 30,
        "negative_prompt": "blurry",
        "output_path": "video1.mp4",
        "tiled": True,
        "quality": 5,
        "seed": 0,
        "fps": 15,
    }
    board = from_value(arguments, "a.json")
    assert (board.size, board.seed, board.fps, board.shot_cut_frames) == ((480, 832), 0, 15, (37,))
    assert board.settings == {"infer_steps": 30, "negative_prompt": "blurry"}
    assert "own script; output_path, quality, tiled mean nothing here" in board.notes[0]


@pytest.mark.parametrize("way", ["prompt", "a.txt", "a.json"])
def test_frames_and_shares_before_each_shot(way: str, tmp_path: Path):
    def board(text: str) -> Storyboard:
        if way == "prompt":
            return from_arguments(prompt=text)
        (tmp_path / way).write_text(json.dumps({"prompt": text}) if way == "a.json" else text)
        return from_file(tmp_path / way)

    frames = board(f"{SHARED} | 0-39: A gull lands | 40-80: The lamp")
    assert scene_of(frames)[1:] == (81, (40,)) and frames.shot_captions == ("A gull lands", "The lamp")
    shares = board(f"{SHARED} [0%:33%] A gull lands [33%:100%] The lamp")
    assert scene_of(shares)[1:] == (241, (80,)) and scene_of(shares, num_frames=101)[1:] == (101, (33,))
    assert shares.prompt == frames.prompt == WANTED[0]
    assert "shots, frames of each before it" in frames.notes[0]
    plain = board("At 0-39: a gull | a lamp")
    assert (plain.global_caption, plain.notes) == (None, ())


@pytest.mark.parametrize(
    "text",
    [
        f"Here is your storyboard:\n```json\n{json.dumps(OURS)}\n```\nEnjoy!",
        f"~~~\n{json.dumps(OURS)}\n~~~",
        f"Sure. {json.dumps(OURS)} I hope {{it}} helps.",
        json.dumps(OURS, indent=1),
    ],
)
def test_json_between_words(text: str, tmp_path: Path):
    (tmp_path / "a.md").write_text(text)
    board = from_file(tmp_path / "a.md")
    assert scene_of(board) == WANTED and board.notes[0].endswith("read as JSON in a text")
    if text.startswith("~~~"):
        (tmp_path / "a.json").write_text(text)
        assert scene_of(from_file(tmp_path / "a.json")) == WANTED


def test_words_without_json_are_a_prompt(tmp_path: Path):
    assert json_in("a [gull] over {the} pier") is None
    (tmp_path / "a.txt").write_text("a gull over the pier\n")
    board = from_file(tmp_path / "a.txt")
    assert (board.prompt, board.global_caption) == ("a gull over the pier", None)


def test_shares_are_a_length_like_any_other():
    shots = [{"caption": "A", "share": 0.25}, {"caption": "B"}]
    board = from_document({"global_caption": "G.", "shots": shots}, "a.toml")
    assert scene_of(board, num_frames=81)[1:] == (81, (20,))


def test_all_unknown_fields_are_named_at_once():
    shots = [{"caption": "A", "second": 2}, {"caption": "B", "mood": "x", "colour": 1}]
    with refused(
        r"^a.toml: zzz: unknown field; known are .*; fsp: unknown field; did you mean fps\?; "
        r"shot 1: second: unknown field; did you mean seconds\?; shot 2: mood: unknown .*; shot 2: colour: unknown"
    ):
        from_value({"global_caption": "G.", "zzz": 1, "fsp": 2, "shots": shots}, "a.toml")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([{"prompt": "a", "duration": "long"}], "shot 1: duration 'long': is no time"),
        ([{"prompt": "a", "duration": -1}], "shot 1: seconds -1: must lie between"),
        ([{"duration": 1}], "shot 1: says nothing of what it shows"),
        ([{"prompt": 5}], "shot 1: prompt 5: must be text"),
        ([{"prompt": "a", "start": 1}], "shot 1: begins at 1; the first shot begins at 0"),
        (
            [{"prompt": "a", "start": 0, "end": 2}, {"prompt": "b", "start": 3}],
            "shot 2: begins at 3, where shot 1 ends at 2",
        ),
        ([{"prompt": "a", "start": 0}, {"prompt": "b"}], "shot 2: nothing says where it begins"),
        (
            [{"prompt": "a", "start": 0, "end": 0}, {"prompt": "b", "start": 0}],
            "shot 1: ends at 0, where it begins at 0",
        ),
        ([{"prompt": "a", "time": "soon"}], "shot 1: time 'soon': is no span of time"),
        ([{"prompt": "a", "frames": "few"}], "shot 1: frames 'few': is no range of frames"),
        ({"style": 5, "scenes": [{"prompt": "a"}]}, "style 5: must be text"),
        ({"characters": 5, "scenes": [{"prompt": "a"}]}, "characters 5: must be names"),
        ({"width": 832, "scenes": [{"prompt": "a"}]}, "height: missing; a size has width and height"),
        ({"scenes": [{"prompt": "a", "colour": 1}]}, "scenes: unknown field; did you mean shots"),
        ([1], "must hold fields, not a list"),
    ],
)
def test_lists_that_make_no_scene(value: object, said: str):
    with refused(f"^a.json: {said}"):
        from_value(value, "a.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0-4: a | 6-9: b", "shot 2 begins at frame 6; it must begin at frame 5"),
        ("3-4: a | 5-9: b", "shot 1 begins at frame 3; it must begin at frame 0"),
        ("0-4: a | 5-2: b", "shot 2 ends before it begins"),
        ("[0%:50%] a [40%:100%] b", "shot 2 begins at 40%; it must begin at 50%"),
        ("[0%:50%] a [50%:90%] b", "the last shot ends at 90%; it must end at 100%"),
        ("0-4: a | 5-9: ", "shot 2: caption: is empty"),
    ],
)
def test_times_in_a_text_that_do_not_follow_each_other(text: str, said: str):
    with refused(f"^--prompt: {said}"):
        from_arguments(prompt=text)
