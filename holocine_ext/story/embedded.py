"""JSON between words or in a fence of Markdown, as language models answer. Opens no file."""

from __future__ import annotations

import json
import re

from holocine_ext.story.fields import parse_json

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)^[ \t]*\1", re.DOTALL | re.MULTILINE)
# A storyboard stands within the first braces or none; looking at all of them takes a time quadratic in their number.
MOST_TRIES = 50


def json_in(text: str) -> object | None:
    """The first table or list of JSON in a text; None where there is none.

    Raises:
        ValueError: a key that is given twice.
        RecursionError: brackets nested too deeply.
    """
    for piece in (text, *(fence[2] for fence in _FENCE.finditer(text))):
        try:
            found = parse_json(piece)
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict | list):
            return found
    return _between_words(text)


def _between_words(text: str) -> object | None:
    decoder = json.JSONDecoder()
    for start in [match.start() for match in re.finditer(r"[{\[]", text)][:MOST_TRIES]:
        try:
            found, _ = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict) or (isinstance(found, list) and found and isinstance(found[0], dict)):
            return found
    return None
