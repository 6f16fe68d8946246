"""Lint: every rule finds what it is about and nothing in scenes that are well made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holocine_ext.lint import RULES, Looked, advice
from holocine_ext.presets import MODELS, Trained
from holocine_ext.request import SceneRequest, scene_request
from holocine_ext.story.boards import from_file
from holocine_ext.story.storyboard import Storyboard
from wan2.plan.files import Files
from wan2.text.tokenizer import TokenizedPrompt

ROOT = Path(__file__).parents[2]
PLAIN = Looked(("Wide shot of a pier.", "Close-up of [ann]. She waits."), 40, (9, 9), (), (832, 480), Trained())


def told(*captions: str, **more: object) -> list[str]:
    """What the rules say of captions."""
    looked = replace(PLAIN, captions=captions, counts=(9,) * len(captions), **more)  # type: ignore[arg-type]
    return [line for rule in RULES for line in rule(looked)]


@pytest.mark.parametrize(
    ("captions", "line"),
    [
        (
            ("Wide shot of a pier.", "A wide view of a lamp."),
            "shot 2 is framed as shot 1 (wide), which looks like a jump",
        ),
        (("Medium close-up of [a].", "Medium close-up of [b]."), "shot 2 is framed as shot 1 (medium close-up)"),
        (
            ("Close-up, at night: a ball.", "Close-up, at midnight: a ball."),
            "shot 2 is framed as shot 1 (close-up)",
        ),
        (("Wide shot of a pier.", "Close-up. She waits."), "shot 2 says 'She' and names nobody before"),
        (("Extreme close-up of her eyes.",), "shot 1 says 'her' and names nobody before"),
        (("Over-the-shoulder shot showing him leave.",), "shot 1 says 'him' and names nobody before"),
        (("[ann] turns again.",), "shot 1 says 'again', but reads no other caption"),
        (("The lamp, as before.",), "shot 1 says 'as before', but reads no other caption"),
    ],
)
def test_what_disappoints_is_said_of_its_shot(captions: tuple[str, ...], line: str):
    (said,) = told(*captions)
    assert said.startswith(line)


@pytest.mark.parametrize(
    "captions",
    [
        ("Wide shot of a pier.", "Close-up of a gull."),
        ("Close-up of [a].", "Low-angle close-up of [b]."),
        ("Wide shot by day.", "Wide shot at night."),
        ("Medium shot of [a].", "Medium close-up of [a]."),
        ("A pier.", "A lamp."),
        ("[ann] lifts her hand.", "A courier pulls his scarf."),
        ('A sign reads "See you again".', "It gliding to the left."),
        ("[ann] closes her eyes, and opens them again.", "A gull lands and, once more, flies."),
        ("Against the wall, the heroine sheds a tear.",),
    ],
)
def test_what_is_well_made_is_left_alone(captions: tuple[str, ...]):
    assert told(*captions) == []


def test_tokens_sizes_and_words_beyond_what_there_is():
    looked = replace(PLAIN, counts=(9, 300), size=(1280, 720), spelled=((), ("dragon",)))
    assert [line for rule in RULES for line in rule(looked)] == [
        "shot 2 takes 300 tokens; its share of 512 is 236",
        "1280x720 pixels: the weights were trained on 832x480",
        "shot 2 says what the miniature does not know: dragon",
    ]


def nano(*captions: str, **given: int) -> tuple[SceneRequest, TokenizedPrompt]:
    preset = MODELS["nano"]["full"]
    asked = scene_request(Storyboard.of("The scene is a meadow with a tree.", captions), preset, given)
    return asked, Files().tokenize(preset.model.tokenizer, asked.base.prompt)


def test_the_miniature_knows_its_own_words_and_no_others():
    said = advice(*nano("Wide shot of a dragon moving right by day.", "Close-up of the red ball at night in the rain."))
    assert said == (
        "shot 1 says what the miniature does not know: dragon",
        "shot 2 says what the miniature does not know: rain",
    )
    known = "Tight close-up of the pyramid-shaped figure gliding to the left in daylight, in the white winter land."
    assert advice(*nano("Distant view of [character1] waiting at noon.", known)) == ()
    assert advice(*nano("A ball.", height=128, width=128)) == ("128x128 pixels: the weights were trained on 64x64",)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("0*.[tyj]*")), ids=lambda path: path.name)
def test_the_examples_are_clean(path: Path):
    asked = scene_request(from_file(path), MODELS["holocine"]["sparse"], {})
    assert advice(asked, None) == ()
