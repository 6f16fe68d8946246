"""Drafts by a language model, here one that answers what the test says, on this machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holocine_ext.studio.draft import Writer
from tests.holocine_ext.answers import Model, served_model  # noqa: F401 - a fixture
from wan2.errors import InputError

BOARD = {
    "global_caption": "A lighthouse. [character1] is a keeper.",
    "shots": [{"caption": "Wide shot of [character1]."}],
}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(BOARD),
        f"Here it is:\n```json\n{json.dumps(BOARD)}\n```\nEnjoy.",
        json.dumps(BOARD | {"shots": ["Wide shot of [character1]."], "title": "extra"}),
    ],
)
def test_a_draft_is_a_board(content: str, model: Model):
    model.content = content
    assert Writer(model.address, "small").draft("a keeper in the rain", 1) == BOARD
    assert (model.asked["path"], model.asked["model"]) == ("/v1/chat/completions", "small")
    assert model.asked["messages"][1]["content"].startswith("a keeper in the rain\n\nWrite exactly 1 shots.")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("I cannot.", "did not write a storyboard"),
        ("{}", "did not write a storyboard"),
        ('{"global_caption": "A", "shots": []}', "did not write a storyboard of 1 shots"),
        ('{"global_caption": "A", "shots": [{"caption": "[shot cut]"}]}', "holds the tag"),
        ('{"global_caption": 3, "shots": ["A"]}', "did not write a storyboard"),
    ],
)
def test_what_is_no_storyboard_is_refused(content: str, words: str, model: Model):
    model.content = content
    with pytest.raises(InputError, match=words):
        Writer(model.address, "small").draft("a keeper", 1)


def test_a_server_that_fails_is_named(model: Model):
    model.status = 500
    with pytest.raises(InputError, match=r"answered 500"):
        Writer(model.address, "small").draft("a keeper", 3)
    with pytest.raises(InputError, match="does not answer"):
        Writer("http://127.0.0.1:9/v1", "small").draft("a keeper", 3)


@pytest.mark.parametrize(("brief", "shots"), [("", 3), ("x" * 5000, 3), ("a", 0), ("a", 14), ("a", "3")])
def test_what_is_no_brief_is_refused(brief: str, shots: Any):  # noqa: ANN401
    with pytest.raises(InputError):
        Writer("http://127.0.0.1:9/v1", "small").draft(brief, shots)


@pytest.mark.parametrize("endpoint", ["file:///etc/passwd", "127.0.0.1:80", "ftp://a/b"])
def test_only_web_addresses_are_asked(endpoint: str):
    with pytest.raises(InputError, match="must be an address"):
        Writer(endpoint, "small")
