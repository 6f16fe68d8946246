"""Bad inputs of everything that directs: takes, boards, settings, defaults, what editors get. Each is refused in one
line with exit code 2, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import holocine_ext.cli

NANO = ("--model", "nano")
SHOTS = ("--global_caption", "A pier.", "--shot_captions", "The tower", "The sea")
BOARD: dict[str, Any] = {"global_caption": "A pier.", "shots": [{"caption": "The tower"}, {"caption": "The sea"}]}
ON_BOARD = ("--storyboard", "a.json")


class Bad(NamedTuple):
    """Words after the model, the files beside them, and how the line begins."""

    line: str
    words: tuple[str, ...]
    files: dict[str, str]


def board(line: str, **change: Any) -> Bad:  # noqa: ANN401
    return Bad(f"a.json: {line}", ON_BOARD, {"a.json": json.dumps({**BOARD, **change})})


def shot(line: str, **fields: Any) -> Bad:  # noqa: ANN401
    return board(f"shot 2: {line}", shots=[BOARD["shots"][0], fields])


def settings(line: str, **table: Any) -> Bad:  # noqa: ANN401
    return board(f"settings: {line}", settings=table)


def listed(line: str, *shots: dict[str, Any]) -> Bad:
    return Bad(f"a.json: {line}", ON_BOARD, {"a.json": json.dumps({"scenes": shots})})


def prompt(line: str, text: str) -> Bad:
    return Bad(f"--prompt: {line}", ("--prompt", text), {})


def defaults(line: str, text: str) -> Bad:
    return Bad(f"holocine.toml: {line}", SHOTS, {"holocine.toml": text})


def flags(line: str, *words: str, **files: str) -> Bad:
    return Bad(line, (*SHOTS, *words), files)


ROWS = [
    # Takes, and shots made anew.
    Bad("--take absent.mp4: no such file", ("--take", "absent.mp4"), {}),
    Bad("--take a.txt: must end in .json, .safetensors, .mp4", ("--take", "a.txt"), {"a.txt": "x"}),
    Bad("--take a.json: is not the record of a run", ("--take", "a.json"), {"a.json": "{}"}),
    Bad("--take a.json: is not JSON", ("--take", "a.json"), {"a.json": "{"}),
    Bad("--take a.mkv: does not say how it was made", ("--take", "a.mkv"), {"a.mkv": "\x1a\x45"}),
    Bad("--take a.mov: does not say how it was made", ("--take", "a.mov"), {"a.mov": "words"}),
    flags("--reshoot: makes shots of a take anew; give --take", "--reshoot", "2"),
    flags("--strength: says how much is made anew", "--strength", "0.5"),
    flags("--strength 2.0: must lie between", "--strength", "2"),
    flags("--hold_noise: nothing is held", "--hold_noise", "0.5"),
    Bad("--list_takes absent: no such folder", ("--list_takes", "absent"), {}),
    Bad("--list_takes .: holds no record of a scene", ("--list_takes", "."), {}),
    shot("from 'night.mp4': must be the file of a take", **{"from": "night.mp4"}),
    shot("from 'night.mp4#x': must be the file of a take", **{"from": "night.mp4#x"}),
    board("shot 1: from: night.mp4: no such file", shots=[{"from": "night.mp4#1"}]),
    shot("strength 0.5: says how much of a take is made anew", caption="A", strength=0.5),
    # Boards.
    Bad("--storyboard a.doc: must end in .toml, .json, .yaml, .txt", ("--storyboard", "a.doc"), {"a.doc": "x"}),
    Bad("--storyboard absent.mp4: no such file", ("--storyboard", "absent.mp4"), {}),
    Bad("a.mp4: tells of no scene", ("--storyboard", "a.mp4"), {"a.mp4": "words"}),
    Bad("a.txt: is empty", ("--storyboard", "a.txt"), {"a.txt": " "}),
    Bad("a.md: colour: unknown field", ("--storyboard", "a.md"), {"a.md": '```json\n{"colour": 1}\n```'}),
    Bad("a.md: fps: given twice", ("--storyboard", "a.md"), {"a.md": '```\n{"fps": 1, "fps": 2}\n```'}),
    board("colour: unknown field; known are prompt", colour=1),
    shot("second: unknown field; did you mean seconds?; shot 2: mood: unknown field", caption="A", second=1, mood=2),
    shot("seconds and share: give at most one of", caption="A", seconds=1, share=0.5),
    shot("share 0: must be more than 0", caption="A", share=0),
    shot("share 2: must lie between 0 and 1", caption="A", share=2),
    board("num_frames 33: the shots take 50.0% of it", num_frames=33, shots=[{"caption": "A", "share": 0.25}] * 2),
    listed("shot 1: says nothing of what it shows", {"duration": 2}),
    listed("shot 1: duration 'long': is no time", {"prompt": "A", "duration": "long"}),
    listed("shot 1: begins at 1; the first shot begins at 0", {"prompt": "A", "start": 1}),
    listed(
        "shot 2: begins at 3, where shot 1 ends at 2", {"text": "A", "start": 0, "end": 2}, {"text": "B", "start": 3}
    ),
    listed("scenes: unknown field; did you mean shots", {"prompt": "A", "colour": "red"}),
    prompt("shot 2 begins at frame 6; it must begin at frame 5", "0-4: a | 6-9: b"),
    prompt("the last shot ends at 90%; it must end at 100%", "[0%:50%] a [50%:90%] b"),
    # Settings, and a person's own defaults.
    settings("steps: unknown field; did you mean infer_steps?", steps=3),
    settings("device: unknown field; it is no field but a flag", device="cpu"),
    settings("infer_steps 0: must lie between 1 and 1000", infer_steps=0),
    settings("infer_steps '3': cannot be used", infer_steps="3"),
    settings("variant 'half': must be one of full, sparse", variant="half"),
    board("seed: given twice, in settings and outside", seed=3, settings={"seed": 3}),
    board("settings: must hold fields, not text", settings="x"),
    board("soundtrack: given twice", soundtrack="a.wav", settings={"soundtrack": "a.wav"}),
    defaults("budget: unknown field; did you mean vram_budget?", "budget = 8"),
    defaults("infer_steps: unknown field; it belongs in settings", "infer_steps = 8"),
    defaults("vram_budget -1: must lie between", "vram_budget = -1"),
    defaults("codec 'avi': must be one of h264", "codec = 'avi'"),
    # What editors get.
    flags("--codec: invalid choice: 'avi'", "--codec", "avi"),
    flags("--save_path a.mp4: must be a folder or end in .mov", "--codec", "prores", "--save_path", "a.mp4"),
    flags("--save_path a.mov: must be a folder or end in .mp4", "--save_path", "a.mov"),
    flags("--codec ffv1: is for a video, which --output_type images", "--codec", "ffv1", "--output_type", "images"),
    flags("--soundtrack absent.wav: no such file", "--soundtrack", "absent.wav"),
    flags("--soundtrack a.wav: is no sound that can be read", "--soundtrack", "a.wav", **{"a.wav": "la la la"}),
    flags("--soundtrack a.wav: is for a video", "--soundtrack", "a.wav", "--output_type", "latent"),
    flags("--export_timeline: cuts a video, and none is written", "--export_timeline", "--output_type", "images"),
    flags(
        "--save_path a.mp4: its EDL would be a.edl, where something that this program did not make stands",
        *("--export_timeline", "--save_path", "a.mp4"),
        **{"a.edl": "TITLE: mine"},
    ),
    board("settings: soundtrack 5: cannot be used", soundtrack=5),
]


def test_there_are_forty():
    assert len({row.line for row in ROWS}) == len(ROWS) >= 40


def test_each_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for number, row in enumerate(ROWS):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        for name, text in row.files.items():
            (folder / name).write_text(text, encoding="latin-1")
        model = () if row.words[0] == "--list_takes" else NANO
        assert holocine_ext.cli.main([*model, *row.words]) == 2, row
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1), (row, err)
        assert err.removeprefix("holocine_generate_video: ").startswith(row.line), (row, err)
        assert {path.name for path in folder.iterdir()} == set(row.files), row
