"""Named characters: numbered, introduced once, and never guessed."""

from __future__ import annotations

import re

import pytest

from holocine_ext.story.document import from_document
from wan2.errors import InputError

CAST = {"mara": "A lighthouse keeper in a grey coat", "old tom": "a fisherman, her father."}


def captions(global_caption: str, *shots: str, cast: dict[str, str] | None = None) -> tuple[str, ...]:
    document = {
        "global_caption": global_caption,
        "characters": CAST if cast is None else cast,
        "shots": [{"caption": shot} for shot in shots],
    }
    board = from_document(document, "a.toml")
    return (board.global_caption or "", *board.shot_captions)


def test_names_become_numbers_and_are_introduced() -> None:
    assert captions("A storm nears", "[mara] waits", "[Old Tom] and [character1] row") == (
        "A storm nears. [character1] is a lighthouse keeper in a grey coat. [character2] is a fisherman, her father.",
        "[character1] waits",
        "[character2] and [character1] row",
    )


def test_the_sentences_stand_before_the_count() -> None:
    text, *_ = captions("A storm. This scene contains 1 shots.", "[mara] [old tom]")
    assert text.startswith("A storm. [character1] is a lighthouse")
    assert text.endswith("her father. This scene contains 1 shots.")


@pytest.mark.parametrize(
    "given", ["[mara] is a young woman.", "We follow [character1], the keeper.", "[mara] is THE one"]
)
def test_a_described_character_is_not_described_again(given: str) -> None:
    text, *_ = captions(given, "[mara] [old tom]")
    assert text.count("[character1]") == 1
    assert "[character2] is a fisherman" in text


def test_without_a_cast_brackets_are_left_alone() -> None:
    assert captions("G.", "[mara] reads [open late]", cast={}) == ("G.", "[mara] reads [open late]")


def test_the_global_caption_may_introduce_more() -> None:
    text, shot = captions("[character3] is a dog.", "[mara], [old tom] and [character3] by a [no entry] sign")
    assert text.startswith("[character3] is a dog. [character1] is")
    assert shot == "[character1], [character2] and [character3] by a [no entry] sign"


@pytest.mark.parametrize(
    ("cast", "shot", "said"),
    [
        (CAST, "[marra] waits", "a.toml: shot 1: caption [marra]: names nobody; the characters are [mara], [old tom]"),
        (CAST, "[character3] waits", "a.toml: shot 1: caption [character3]: names nobody"),
        ({"9lives": "a cat"}, "x", "a.toml: characters 9lives: a character's name is made of letters"),
        ({"shot cut": "a cat"}, "x", "a.toml: characters shot cut '[shot cut]': holds the tag"),
        ({"cat": " "}, "x", "a.toml: characters cat: is empty"),
        ({"cat": "a [shot cut]"}, "x", "a.toml: characters cat 'a [shot cut]': holds the tag"),
        ({"cat": "a cat", "Cat": "b"}, "x", "a.toml: characters Cat: listed twice"),
        ({"character2": "a cat"}, "x", "a.toml: characters character2: stands at place 1"),
        ({f"a{i}": "a cat" for i in range(101)}, "x", "a.toml: characters: lists 101; must be at most 100"),
        ({"character" + "9" * 5000: "a cat"}, "x", "a.toml: characters character999"),
        ({"cat": "a friend of [dog]"}, "x", "a.toml: global_caption [dog]: names nobody"),
    ],
)
def test_mistakes_are_named(cast: dict[str, str], shot: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(said)}"):
        captions("G.", shot, cast=cast)
