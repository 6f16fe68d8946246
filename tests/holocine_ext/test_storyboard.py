"""Scenes as people give them: three ways in, one record out, and a line for everything that is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from holocine_ext.presets import MODELS, TRAINED_FRAMES, TRAINED_SHOTS
from holocine_ext.story.boards import from_arguments, from_file
from holocine_ext.story.document import from_document
from holocine_ext.story.scene import plan_scene, scene_warnings
from holocine_ext.story.storyboard import from_prompt
from tests.refused import refused

PRESET = MODELS["holocine"]["sparse"]
SHOTS = [{"caption": "A gull lands"}, {"caption": "The lamp turns"}]
TOML = """
global_caption = "A storm nears."
num_frames = 81
[[shots]]
caption = "A gull lands"
[[shots]]
caption = "The lamp turns"
cut_frame = 41
"""
YAML = """
global_caption: A storm nears.
num_frames: 81
shots:
  - caption: A gull lands
  - {caption: The lamp turns, cut_frame: 41}
"""


def scene_of(document: dict, **flags: float) -> tuple:
    scene = plan_scene(from_document(document, "a.toml"), PRESET, **flags)
    return scene.num_frames, scene.cuts


def test_three_syntaxes_and_the_command_line_give_one_scene(tmp_path: Path) -> None:
    document = {
        "global_caption": "A storm nears.",
        "num_frames": 81,
        "shots": [SHOTS[0], {**SHOTS[1], "cut_frame": 41}],
    }
    files = {"a.toml": TOML, "a.json": json.dumps(document), "a.yaml": YAML, "a.yml": "\ufeff" + YAML}
    scenes = []
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        scenes.append(plan_scene(from_file(tmp_path / name), PRESET))
    typed = from_arguments(
        global_caption="A storm nears.", shot_captions=["A gull lands", "The lamp turns"], shot_cut_frames=[41]
    )
    raw = from_prompt(typed.prompt, (41,))
    scenes += [plan_scene(board, PRESET, num_frames=81) for board in (typed, raw)]
    assert typed.prompt == (
        "[global caption] A storm nears. This scene contains 2 shots. "
        "[per shot caption] A gull lands [shot cut] The lamp turns"
    )
    for scene in scenes:
        assert scene.storyboard.prompt == typed.prompt
        assert (scene.num_frames, scene.cuts, scene.fps, scene.num_shots) == (81, (41,), 15.0, 2)


def test_a_prompt_without_tags_is_an_ordinary_video() -> None:
    scene = plan_scene(from_arguments(prompt="A gull over the pier."), PRESET)
    assert scene.storyboard.global_caption is None
    assert (scene.storyboard.prompt, scene.num_shots, scene.cuts) == ("A gull over the pier.", 1, None)


def test_a_raw_prompt_in_a_file_is_kept_as_it_is() -> None:
    raw = "[global caption] G. [per shot caption] A [shot cut] B"
    board = from_document({"prompt": raw, "shot_cut_frames": [9], "fps": 8, "seed": 3, "size": [64, 96]}, "a.json")
    assert (board.prompt, board.global_caption, board.shot_captions) == (raw, "G.", ("A", "B"))
    assert (board.shot_cut_frames, board.fps, board.seed, board.size) == ((9,), 8, 3, (64, 96))


def test_lengths_become_cuts() -> None:
    shots = [{**SHOTS[0], "seconds": 2.5}, {**SHOTS[1], "frames": 20}, {**SHOTS[0], "seconds": 4}]
    document = {"global_caption": "G.", "shots": shots}
    assert scene_of(document) == (118, (38, 58))
    assert scene_of(document, fps=8) == (72, (20, 40))
    assert scene_of({**document, "fps": 8}) == (72, (20, 40))
    assert scene_of({**document, "num_frames": 117}) == (118, (38, 58))
    with refused(re.escape("a.toml: num_frames 81: the lengths of the shots add up to 118")):
        scene_of({**document, "num_frames": 81})
    with refused(re.escape("--video_length 81: the lengths of the shots add up to 118")):
        scene_of(document, num_frames=81)


def test_an_open_last_shot_takes_the_rest() -> None:
    document = {"global_caption": "G.", "shots": [{**SHOTS[0], "seconds": 2}, SHOTS[1]]}
    assert scene_of(document) == (241, (30,))
    assert scene_of(document, num_frames=81) == (81, (30,))
    with refused("nothing is left for the last"):
        scene_of(document, num_frames=30)


def test_flags_win_over_the_file() -> None:
    document = {"global_caption": "G.", "num_frames": 81, "fps": 8, "shots": SHOTS}
    scene = plan_scene(from_document(document, "a.toml"), PRESET, num_frames=121, fps=24.0)
    assert (scene.num_frames, scene.fps) == (121, 24.0)


def test_the_record_of_a_scene_is_a_storyboard() -> None:
    document = {
        "global_caption": "A storm nears [keeper].",
        "characters": {"keeper": "An old woman in a grey coat"},
        "shots": [{"caption": "[keeper] waits", "seconds": 2}, {"caption": "[keeper] sleeps", "seconds": 3}],
    }
    scene = plan_scene(from_document(document, "a.toml"), PRESET)
    record = json.loads(json.dumps(scene.as_record()))
    again = plan_scene(
        from_arguments(
            global_caption=record["global_caption"],
            shot_captions=record["shot_captions"],
            shot_cut_frames=record["shot_cut_frames"],
        ),
        PRESET,
        record["num_frames"],
        record["fps"],
    )
    assert again.storyboard.prompt == record["prompt"] == scene.storyboard.prompt
    assert (again.cuts, again.num_frames) == (scene.cuts, scene.num_frames)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "no scene: give --storyboard, or --global_caption with --shot_captions, or --prompt"),
        ({"prompt": "a", "storyboard": Path("a.toml")}, "--storyboard and --prompt: two ways of giving a scene"),
        ({"prompt": "a", "shot_captions": ["b"]}, "--prompt and --shot_captions: two ways"),
        ({"global_caption": "a", "storyboard": Path("a.toml")}, "--storyboard and --global_caption: two ways"),
        ({"shot_captions": ["a"]}, "--shot_captions: needs --global_caption"),
        ({"global_caption": "a"}, "--global_caption: needs --shot_captions"),
        ({"global_caption": "a", "shot_captions": []}, "--global_caption: needs --shot_captions"),
        ({"global_caption": " ", "shot_captions": ["a"]}, "--global_caption: is empty"),
        ({"global_caption": "a", "shot_captions": ["a", ""]}, "--shot_captions, shot 2: is empty"),
        ({"global_caption": "a", "shot_captions": ["a [shot cut] b"]}, "holds the tag [shot cut]"),
        ({"prompt": ""}, "--prompt: is empty"),
        ({"storyboard": Path("a.toml"), "shot_cut_frames": [5]}, "shot_cut_frames: a storyboard says"),
        ({"storyboard": Path("missing.toml")}, "--storyboard missing.toml: no such file"),
        ({"storyboard": Path("scene.doc")}, "--storyboard scene.doc: must end in .toml, .json, .yaml, .txt, .md, .mp4"),
        ({"storyboard": Path("scene.txt")}, "--storyboard scene.txt: no such file"),
        ({"storyboard": Path("scene.mp4")}, "--storyboard scene.mp4: no such file"),
        ({"prompt": "0-4: a | 5-8: b", "shot_cut_frames": [5]}, "shot_cut_frames: the prompt says the times"),
    ],
)
def test_arguments_that_make_no_scene(arguments: dict, said: str) -> None:
    with refused(re.escape(said)):
        from_arguments(**arguments)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gobal_caption": "x"}, "gobal_caption: unknown field; did you mean global_caption?"),
        ({"zzz": 1}, "zzz: unknown field; known are prompt, global_caption"),
        ({"global_caption": None}, "global_caption: missing"),
        ({"global_caption": 5}, "global_caption 5: must be text"),
        ({"global_caption": ""}, "global_caption: is empty"),
        ({"shots": None}, "shots: missing"),
        ({"shots": []}, "shots: missing"),
        ({"shots": "A gull"}, "shots: missing"),
        ({"shots": ["A gull"]}, "shot 1: must hold fields, not text"),
        ({"shots": [{}]}, "shot 1: caption: missing"),
        ({"shots": [{"caption": 1}]}, "shot 1: caption 1: must be text"),
        ({"shots": [{"caption": " "}]}, "shot 1: caption: is empty"),
        ({"shots": [{"caption": "[shot cut]"}]}, "shot 1: caption '[shot cut]': holds the tag"),
        ({"shots": [{"caption": "a", "second": 2}]}, "shot 1: second: unknown field; did you mean seconds?"),
        ({"shots": [{"caption": "a", "seconds": 2, "frames": 3}]}, "shot 1: seconds and frames: give at most one"),
        ({"shots": [{"caption": "a", "seconds": float("nan")}]}, "shot 1: seconds nan: must be a finite number"),
        ({"shots": [{"caption": "a", "seconds": 0}]}, "shot 1: seconds 0: must be more than 0"),
        ({"shots": [{"caption": "a", "seconds": -2}]}, "shot 1: seconds -2: must lie between"),
        ({"shots": [{"caption": "a", "frames": 2.5}]}, "shot 1: frames 2.5: must be a whole number"),
        ({"shots": [{"caption": "a", "frames": True}]}, "shot 1: frames True: must be a whole number"),
        ({"shots": [{"caption": "a", "cut_frame": "9"}]}, "shot 1: cut_frame '9': must be a whole number"),
        ({"shots": [{"caption": "a", "cut_frame": 9}, SHOTS[0]]}, "shot 1: cut_frame 9: the first shot begins"),
        (
            {"shots": [SHOTS[0], {"caption": "a", "cut_frame": 9}, SHOTS[0]]},
            "shot 3: no cut_frame; when one shot has it",
        ),
        ({"shots": [SHOTS[0], {"caption": "a", "seconds": 9}]}, "shot 1: no seconds or frames; only the last"),
        (
            {"shots": [{"caption": "a", "seconds": 9}, {"caption": "a", "cut_frame": 9}]},
            "shots: some give a length and some a cut_frame",
        ),
        (
            {"shots": [{"caption": "a", "seconds": 9}, SHOTS[0]], "shot_cut_frames": [9]},
            "shot_cut_frames: the shots say their own times",
        ),
        ({"shot_cut_frames": 9}, "shot_cut_frames 9: must be a list of whole numbers"),
        ({"shot_cut_frames": [9.5]}, "shot_cut_frames [9.5]: must be a list of whole numbers"),
        ({"num_frames": 0}, "num_frames 0: must lie between 1 and 10000"),
        ({"num_frames": "81"}, "num_frames '81': must be a whole number"),
        ({"fps": float("inf")}, "fps inf: must be a finite number"),
        ({"fps": "fast"}, "fps 'fast': must be a number"),
        ({"fps": 0}, "fps 0: must lie between 0.1 and 240"),
        ({"seed": -1}, "seed -1: must lie between"),
        ({"size": [480]}, "size [480]: must be [height, width]"),
        ({"size": [480, 830]}, "size [480, 830]: must be [height, width], both multiples of 16"),
        ({"prompt": "a"}, "prompt and global_caption: two ways of giving a scene"),
        ({"prompt": "a", "global_caption": None}, "prompt and shots: two ways of giving a scene"),
        ({"prompt": "[shot cut]", "global_caption": None, "shots": None}, "prompt: [global caption] occurs 0 times"),
        ({"characters": ["keeper"]}, "characters ['keeper']: must be names with a description each"),
        ({"characters": {"keeper": 5}}, "characters {'keeper': 5}: must be names with a description each"),
    ],
)
def test_a_file_with_a_mistake(change: dict, said: str) -> None:
    document = {"global_caption": "A storm nears.", "shots": SHOTS, **change}
    with refused(f"^{re.escape('a.toml: ' + said)}") as caught:
        from_document(document, "a.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "global_caption = \nfps = 3", r"Invalid value \(at line 1, column 18\)"),
        ("a.toml", "fps = 3\nfps = 4", r"Cannot overwrite a value"),
        ("a.json", '{"fps": 3,\n "seed" 4}', r"Expecting ':' delimiter \(at line 2, column 9\)"),
        ("a.json", '{"fps": 3, "fps": 4}', "fps: given twice"),
        ("a.json", "[1]", "must hold fields, not a list"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.yaml", "fps: 3\nfps: 4", r"fps: given twice \(at line 2, column 1\)"),
        ("a.yaml", "shots: [a\nfps: 3", r"\(at line 2, column 4\)"),
        ("a.yaml", "- a", "must hold fields, not a list"),
        ("a.yaml", "", "must hold fields, not nothing"),
        ("a.yaml", "? [a, b]\n: 1", "found unhashable key|unknown field"),
        ("a.yaml", "fps: !!python/object:os.system 1", "could not determine a constructor"),
        ("a.yaml", "caption: a\x07b", "special characters are not allowed"),
        ("a.json", '{"fps": NaN, "global_caption": "a", "shots": [{"caption": "b"}]}', "fps nan: must be a finite"),
    ],
)
def test_files_that_cannot_be_parsed(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with refused(f"^{re.escape(str(path))}: .*({said})") as caught:
        from_file(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b'global_caption = "\xff"')
    with refused("not UTF-8 text"):
        from_file(path)
    with refused("no such file"):
        from_file(tmp_path / "folder.toml")


@pytest.mark.parametrize(
    ("flags", "said"), [({"fps": float("nan")}, "--fps nan"), ({"num_frames": 0}, "--video_length 0")]
)
def test_flags_outside_their_range(flags: dict, said: str) -> None:
    with refused(f"^{said}: must lie between"):
        plan_scene(from_prompt("a"), PRESET, **flags)


def test_warnings() -> None:
    def warned(**change: object) -> tuple[str, ...]:
        board = from_document({"global_caption": "A storm.", "shots": SHOTS, **change}, "a.toml")
        return scene_warnings(plan_scene(board, PRESET), TRAINED_FRAMES, TRAINED_SHOTS)

    assert warned() == ()
    assert warned(num_frames=242) == ()  # snaps to 241
    assert warned(num_frames=245) == ("245 frames: the released weights were trained on at most 241",)
    assert warned(shots=SHOTS * 7) == ("14 shots: the released weights were trained on at most 13",)
    stated = "the global caption says 'This scene contains 5 shots', but there are 2"
    assert warned(global_caption="A storm. This scene contains 5 shots.") == (stated,)
    assert warned(characters={"keeper": "a woman"}) == ("a.toml: characters keeper: no shot calls [keeper]",)


@pytest.mark.parametrize(
    ("global_caption", "captions", "said"),
    [
        ("[character1] is a cat.", ("[character1] waits by a [closed] sign", "[Character1] leaves"), ()),
        ("[character1] is a cat.", ("It waits", "[charcter1] leaves"), ("shot 2 calls [charcter1]",)),
        ("A cat.", ("[character1] waits", "[open]"), ("shot 1 calls [character1]",)),
        (
            "[character1] and [character2]",
            ("[character3] meets [character1] and [character3]", "[character 2]"),
            ("shot 1 calls [character3]", "shot 2 calls [character 2]"),
        ),
    ],
)
def test_a_character_whom_nothing_introduces_is_told_of(
    global_caption: str, captions: tuple[str, ...], said: tuple[str, ...]
) -> None:
    text = f"[global caption] {global_caption} [per shot caption] {' [shot cut] '.join(captions)}"
    found = scene_warnings(plan_scene(from_prompt(text), PRESET), TRAINED_FRAMES, TRAINED_SHOTS)
    assert found == tuple(f"{line}, whom the global caption does not introduce" for line in said)
