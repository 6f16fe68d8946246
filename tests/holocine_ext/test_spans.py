"""Text windows: all thirty reference prompts, exactly, and what holds for every prompt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holocine_ext.shots.spans import TextSpans, allowed_key_ranges, check_text_fits, text_spans
from holocine_ext.story.prompt import build_prompt
from wan2.errors import InputError
from wan2.text.tokenizer import TokenizedPrompt, load_tokenizer

DATA = Path(__file__).parents[1] / "data"
WINDOWS = json.loads((DATA / "text_windows.json").read_text(encoding="utf-8"))
TOKENIZER = load_tokenizer(DATA / "tokenizer")
LENGTH = 512


@pytest.mark.parametrize("case", WINDOWS, ids=[f"prompt{i}" for i in range(len(WINDOWS))])
def test_windows_equal_the_reference(case: dict) -> None:
    tokenized = TOKENIZER.tokenize(case["prompt"]).truncated(LENGTH)
    spans = text_spans(tokenized)
    found = {
        "num_tokens": tokenized.num_tokens,
        "global": spans.global_span,
        "shots": spans.shots,
        "allowed_key_ranges": allowed_key_ranges(spans, LENGTH),
    }
    assert json.loads(json.dumps(found)) == {name: case[name] for name in found}


@given(st.text(" abc灯é", max_size=40), st.lists(st.text("xyz ", min_size=1, max_size=30), min_size=1, max_size=6))
def test_spans_follow_each_other(global_caption: str, captions: list[str]) -> None:
    tokenized = TOKENIZER.tokenize(build_prompt(global_caption, [f"a{caption}" for caption in captions]))
    spans = text_spans(tokenized)
    assert spans.global_span is not None
    edges = [spans.global_span, *spans.shots]
    assert len(spans.shots) == len(captions)
    assert edges[0][0] == 0
    assert all(a[1] == b[0] for a, b in zip(edges, edges[1:], strict=False))
    assert edges[-1][1] == tokenized.num_tokens - 1


@given(st.lists(st.integers(1, 60), min_size=2, max_size=14))
def test_ranges_are_merged_and_hold_the_leak_and_the_padding(lengths: list[int]) -> None:
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    spans = TextSpans((0, ends[0]), tuple(zip(ends, ends[1:], strict=False)))
    if ends[-1] >= LENGTH:
        return
    for (a, b), ranges in zip(spans.shots, allowed_key_ranges(spans, LENGTH) or (), strict=True):
        seen = {i for start, stop in ranges for i in range(start, stop)}
        assert seen == {*range(ends[0] + 1), *range(a, b + 1), *range(ends[-1] + 1, LENGTH)}
        assert all(first[1] < second[0] for first, second in zip(ranges, ranges[1:], strict=False))


def test_a_token_across_a_border_belongs_to_the_first_span() -> None:
    text = "[global caption] a [per shot caption] b [shot cut] c"
    edges = [0, 17, 20, 38, 41, len(text)]  # the second token ends inside the tag that follows it
    offsets = (*zip(edges, edges[1:], strict=False), (0, 0))
    spans = text_spans(TokenizedPrompt(text, tuple(range(len(offsets))), offsets))
    assert spans == TextSpans((0, 2), ((2, 5),))


def test_a_scene_that_fits_gives_its_spans() -> None:
    tokenized = TOKENIZER.tokenize(build_prompt("A keeper.", ["The lamp turns", "A gull lands"]))
    assert check_text_fits(tokenized, 2, "--shot_captions", LENGTH) == text_spans(tokenized)


def test_shots_past_the_end_are_named_with_their_tokens() -> None:
    captions = ["Wide shot of a lighthouse at dusk and the sea beyond it"] * 14
    tokenized = TOKENIZER.tokenize(build_prompt("A keeper.", captions))
    with pytest.raises(InputError) as caught:
        check_text_fits(tokenized, 14, "--shot_captions", LENGTH)
    message = str(caught.value)
    assert message.startswith(
        f"--shot_captions: the prompt has {tokenized.num_tokens} tokens, the text encoder reads 512"
    )
    spans = text_spans(tokenized).shots
    assert f"shot 14 ({spans[13][1] - spans[13][0]} tokens, {spans[13][0]} to {spans[13][1]})" in message
    assert "shot 11 " not in message
    assert "shot 12 " in message


def test_another_number_of_shots_after_cleaning_is_refused() -> None:
    tokenized = TOKENIZER.tokenize(build_prompt("A keeper.", ["one", "two"]))
    with pytest.raises(InputError, match="has 2 shots, not 3"):
        check_text_fits(tokenized, 3, "--prompt", LENGTH)
