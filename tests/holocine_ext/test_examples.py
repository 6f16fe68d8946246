"""Every example is a scene within what the released weights were trained on, and short enough to be read whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holocine_ext.presets import MODELS, TRAINED_FRAMES, TRAINED_SHOTS
from holocine_ext.shots.layout import plan_layout
from holocine_ext.story.boards import from_file
from holocine_ext.story.prompt import parse_prompt
from holocine_ext.story.scene import plan_scene, scene_warnings

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("0*"))
PRONOUN = re.compile(r"\b(he|she|him|her|his|hers|they|them)\b", re.IGNORECASE)
FRAMING = re.compile(r"\b(shot|close-up|insert|view)\b", re.IGNORECASE)
SHOTS = {"01": 1, "02": 3, "03": 5, "04": 6, "05": 13, "06": 4}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_good_scene(path: Path) -> None:
    scene = plan_scene(from_file(path), MODELS["holocine"]["sparse"])
    layout = plan_layout(scene.num_frames, scene.num_shots, scene.cuts, 1560, scene.names)
    assert layout.num_shots == SHOTS[path.stem[:2]]
    assert layout.num_frames in (81, 241)
    assert scene_warnings(scene, TRAINED_FRAMES, TRAINED_SHOTS) == ()
    global_caption, captions = parse_prompt(scene.storyboard.prompt)
    assert global_caption is not None
    assert len(captions) == layout.num_shots
    assert "  " not in scene.storyboard.prompt
    # English takes about 1.4 tokens a word; every bracket and mark is a token of its own.
    words, marks = re.findall(r"\w+", scene.storyboard.prompt), re.findall(r"[^\w\s]", scene.storyboard.prompt)
    assert 1.4 * len(words) + len(marks) < 512


def test_every_example_is_known() -> None:
    assert [path.stem[:2] for path in EXAMPLES] == sorted(SHOTS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_follows_the_advice_of_the_readme(path: Path) -> None:
    scene = plan_scene(from_file(path), MODELS["holocine"]["sparse"])
    _, captions = parse_prompt(scene.storyboard.prompt)
    for caption in captions:
        # A shot reads no other caption: whoever is "she" must be named in the same one.
        assert not PRONOUN.search(caption) or "[character" in caption, caption
        assert FRAMING.search(caption.partition(":")[0].partition(".")[0]), f"no framing first: {caption}"
        assert len(re.findall(r"[.!?](?=\s|$)", caption)) <= 3, f"more than three sentences: {caption}"
