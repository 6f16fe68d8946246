"""The tagged text: made as the reference makes it, taken apart again, and refused when malformed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holocine_ext.presets import MODELS
from holocine_ext.story.document import from_document
from holocine_ext.story.prompt import build_prompt, check_caption, parse_prompt
from holocine_ext.story.scene import plan_scene, scene_warnings
from holocine_ext.story.storyboard import from_prompt
from wan2.errors import InputError
from wan2.text.tokenizer import MAX_CHARACTERS

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((Path(__file__).parents[1] / "data" / "frames.json").read_text(encoding="utf-8"))
WORDS = st.text("abc ,.é灯", min_size=1).filter(str.strip)


@pytest.mark.parametrize("case", FIGURES["prepare_multishot_inputs"])
def test_prompts_equal_the_reference(case: dict) -> None:
    assert build_prompt(case["global_caption"], case["shot_captions"]) == case["result"]["prompt"]


@given(WORDS, st.lists(WORDS, min_size=1, max_size=5))
def test_what_is_built_is_read_back(global_caption: str, captions: list[str]) -> None:
    read, shots = parse_prompt(build_prompt(global_caption, captions))
    assert read == f"{global_caption.strip()} This scene contains {len(captions)} shots."
    assert shots == tuple(caption.strip() for caption in captions)


@pytest.mark.parametrize("text", ["A gull over the pier.", "A sign reads [open], [character1] waits"])
def test_a_prompt_without_tags_is_one_shot(text: str) -> None:
    assert parse_prompt(f"  {text} ") == (None, (text,))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("[global caption] G", r"\[per shot caption\] occurs 0 times"),
        ("[per shot caption] A [shot cut] B", r"\[global caption\] occurs 0 times"),
        ("A [shot cut] B", r"\[global caption\] occurs 0 times"),
        ("[global caption] G [global caption] H [per shot caption] A", r"\[global caption\] occurs 2 times"),
        ("[global caption] G [per shot caption] A [per shot caption] B", r"\[per shot caption\] occurs 2 times"),
        ("[per shot caption] A [global caption] G", r"\[per shot caption\] then \[global caption\]; a prompt begins"),
        ("[global caption] G [shot cut] A [per shot caption] B", r"\[global caption\] then \[shot cut\]"),
        ("Look: [global caption] G [per shot caption] A", r"text before \[global caption\]"),
        ("[global caption] [per shot caption] A", r"nothing after \[global caption\]"),
        ("[global caption] G [per shot caption]", r"nothing after \[per shot caption\]"),
        ("[global caption] G [per shot caption] A [shot cut]", r"nothing after \[shot cut\]"),
        ("[global caption] G [per shot caption] A [shot cut] [shot cut] B", r"nothing after \[shot cut\]"),
        ("[Global Caption] G [per shot caption] A", r"\[Global Caption\]: a misspelt tag"),
        ("[global caption] G [per shot captions] A", r"\[per shot captions\]: a misspelt tag"),
        ("[global caption] G [per shot caption] A [shot_cut] B", r"\[shot_cut\]: a misspelt tag"),
        ("[global caption] G [per shot caption] A &#91;shot cut] B", "a misspelt tag"),
        ("lone \ud800 surrogate", "is not valid Unicode text"),
        ("[global caption] G [per shot caption] A [shot cut] B [shot cut] ", r"nothing after \[shot cut\] \(tag 4\)"),
        ("A gull &#" + "9" * 4400 + "; lands", "holds an entity"),
        ("x" * (MAX_CHARACTERS + 1), f"is longer than {MAX_CHARACTERS} characters"),
    ],
)
def test_malformed_prompts_are_refused(raw: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^--prompt.*{said}") as caught:
        parse_prompt(raw)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tag", ["[shot cut]", "[Shot  Cut]", "[shot-cut]", "[shotcut]", "&lsqb;shot cut]", "［shot cut］"]
)
def test_a_caption_may_not_hold_a_tag(tag: str) -> None:
    with pytest.raises(InputError, match=r"^shots\[2\] .*holds the tag"):
        check_caption(f"A gull {tag} a lamp", "shots[2]")


@pytest.mark.parametrize(
    "caption", ["A gull lands.", "The [character1] sign", "[open late] blinks", "She calls the shot, cut!"]
)
def test_plain_captions_pass(caption: str) -> None:
    check_caption(caption, "caption")


ODD_TAGS = [
    "[shot cut 2]", "[cut]", "[shot cut:]", "【shot cut】", "(shot cut)", "[Shot Cut #2]", "[shot\u200bcut]",
    "[shót cut]", "[shto cut]", "[short cut]", "[shot]", "[shot 2]", "[Shot II]", "[shot B]", "[cut 3]", "[CUT TO]",
    "[next shot]", "[scene 2]", "[per-shot caption 1]", "[global caption:]", "[globl caption]", "[caption]",
    "[per shot]", "[shot caption]", "{shot cut}", "<shot cut>", "「shot cut」", "\\[shot cut\\]", "[镜头切换]",
    "[镜头二]", "[カット]", "[shot cut", "shot cut]", "[ѕhot cut]", "[shot   cut]", "[shot\ncut]",
    "&#12304;shot cut&#12305;", "[*shot cut*]", "[/shot cut]", "[cut shot]", "[shot-two]",
]  # fmt: skip
WORDS_IN_BRACKETS = [
    "[open]", "[cut here]", "[character1]", "[mara]", "[Per]", "[wide shot]", "[shot put]", "[shot clock]",
    "[no entry]", "(cut)", "(one shot)", "(shot 2)", "(in a single shot)", "[cut to black]", "[scene 4, take 2]",
    "[gift shop]", "[Toma]", "[captain]", "[global news]", "[hot cuts]", "[exit", "shots]", "$2 (per shot)", "[]",
    "[ ]", "[1]", "[to]", "[per]", "[new]", "「カット」", "[开门]", "[cut & dry]", "[uncut]", "[snapshot]",
    "a shot, cut!", "the shot cut short",
]  # fmt: skip


@pytest.mark.parametrize("tag", ODD_TAGS)
def test_what_was_meant_for_a_tag_is_refused_where_there_are_tags(tag: str) -> None:
    for raw in (
        f"[global caption] G [per shot caption] A {tag} B",
        f"[global caption] G {tag} A [shot cut] B",
        f"[global caption] G [per shot caption] {tag} A [shot cut] B",
    ):
        with pytest.raises(InputError, match="^--prompt .*: a misspelt tag; the tags are exactly") as caught:
            parse_prompt(raw)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="^shots.*: holds the tag .*go between quotes$"):
        check_caption(f"A gull {tag} a lamp", "shots")


@pytest.mark.parametrize("words", WORDS_IN_BRACKETS)
def test_words_in_brackets_stay_words(words: str) -> None:
    check_caption(f"A sign says {words} at noon", "shots")
    raw = f"[global caption] A sign says {words} [per shot caption] {words} A [shot cut] B {words}"
    assert parse_prompt(raw)[1] == (f"{words} A", f"B {words}")
    assert parse_prompt(f"A sign says {words} at noon") == (None, (f"A sign says {words} at noon",))


def warnings(prompt: str) -> tuple[str, ...]:
    preset = MODELS["holocine"]["sparse"]
    return scene_warnings(plan_scene(from_prompt(prompt), preset), 241, 13)


@pytest.mark.parametrize(
    "prompt",
    [
        "[Shot 1] A gull lands. [Shot 2] A lamp turns.",
        "Shot 1: A gull lands. Shot 2: A lamp turns.",
        "SHOT ONE - a gull. SHOT TWO - a lamp",
        "Scene 1: a gull\nScene 2: a lamp",
        "Shot #1 a gull; shot #2 a lamp",
        "Shot A: a gull. Shot B: a lamp.",
        "Shot I. A gull. Shot II. A lamp.",
        "First shot: a gull. Second shot: a lamp.",
        "1) A gull lands.\n2) A lamp turns.",
        "1. A gull lands. 2. A lamp turns.",
        "镜头1：海鸥。镜头2：灯塔。",
        "镜头一，海鸥。镜头二，灯塔。",
        "第一个镜头，海鸥。第二个镜头，灯塔。",
        "ショット１：カモメ。ショット２：灯台。",
        "Plano 1: una gaviota. Plano 2: un faro.",
        "Кадр 1: чайка. Кадр 2: маяк.",
        "[0:00-0:02] a gull [0:02-0:05] a lamp",
        "0-2s: a gull. 2-5s: a lamp.",
        "A gull lands. [cut] A lamp turns.",
        "A gull lands. CUT TO: a lamp.",
        "Shot   1: A gull." + " " * 15_000 + "Shot 2: a lamp",
    ],
)
def test_a_prompt_that_numbers_its_shots_without_tags_is_warned_of(prompt: str) -> None:
    (warning,) = warnings(prompt)
    assert "but without tags it is a single shot" in warning
    assert len(warning) < 300
    assert "\n" not in warning


@pytest.mark.parametrize(
    "prompt",
    [
        "A gull over the pier.",
        "A single shot: a gull lands.",
        "Shot 1: a gull lands.",
        "Apollo 11 lands; Apollo 12 does not.",
        "A gull of 2.5 kg. It is 3.5 years old.",
        "The clock says 10:30, later 10:45.",
        "A long shot of 2 gulls and 3 lamps, 4 s long.",
        "A sign says [open].",
    ],
)
def test_a_prompt_of_one_shot_is_not(prompt: str) -> None:
    assert warnings(prompt) == ()


def test_tags_are_no_reason_for_that_warning() -> None:
    assert warnings("[global caption] G [per shot caption] Shot 1: A [shot cut] Shot 2: B") == ()


# Texts as long as they may be, and longer ones, in a process whose time the system bounds.
BOUNDED = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from holocine_ext.story.misspelt import near_tags, numbered_parts
from holocine_ext.story.prompt import parse_prompt
from wan2.errors import InputError
from wan2.text.tokenizer import MAX_CHARACTERS
pieces = [*"([<&-_ \\n.1", "[a", "(]", "[cut]", "[shot cut]", "[shot ", "shot ", "global ", "1. ", "1:00-", "&#"]
pieces += ["镜头", "\\u0301"]
for piece in pieces:
    text = piece * (MAX_CHARACTERS // len(piece))
    for text in (text, "shot" + text[:-9] + "1", "[shot" + text[:-9] + "]"):
        near_tags(text), numbered_parts(text)
    try:
        parse_prompt(piece * (10_000_000 // len(piece)))
    except InputError as error:
        print(f"longer than {MAX_CHARACTERS} characters" in str(error))
"""


def test_any_text_is_answered_in_time() -> None:
    done = subprocess.run([sys.executable, "-c", BOUNDED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 22


def test_a_count_of_thousands_of_digits_is_a_warning() -> None:
    board = from_document(
        {"global_caption": f"G. This scene contains {'9' * 5000} shots.", "shots": [{"caption": "A"}]}, "a.json"
    )
    (warning,) = scene_warnings(plan_scene(board, MODELS["holocine"]["sparse"]), 241, 13)
    assert warning.endswith("but there are 1")
    assert len(warning) < 200
