"""The tagged text: made as the reference makes it, taken apart again, and refused when malformed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holocine_ext.prompt import build_prompt, check_caption, parse_prompt
from wan2.errors import InputError

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
