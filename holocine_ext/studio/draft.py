"""A first draft of a board from a few words, by a language model that the person named. Starts no render.

Any server that speaks OpenAI's chat completions will do, also one on this machine (llama.cpp, Ollama, vLLM). Only the
command line names it, never the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from holocine_ext.story.document import from_document
from wan2.errors import InputError
from wan2.request.fields import Number

SECONDS = 180
MOST_ANSWER, MOST_BRIEF = 1 << 20, 4000
SHOTS = Number(1, 13, whole=True)
RULES = """You write storyboards for a text-to-video model that makes one scene of several shots in one pass.
Answer with one JSON object and nothing else: {"global_caption": text, "shots": [{"caption": text}, ...]}.
The global caption says what stays the same: the place, the people and what they look like, the light, the style. Give
each person a tag and a look: "[character1] is a clockmaker in her seventies with a white braid."
A shot caption says what is new: first the framing (Wide shot, Medium close-up), then who, by tag, the action, the
camera; one or two short sentences. Each shot reads the global caption and its own caption, no other: never write
"again", or a pronoun for somebody whom the caption does not name. All captions together stay under 330 words."""
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True)
class Writer:
    """A language model: the address of its server, up to `/v1`, and its name there."""

    endpoint: str
    model: str

    def __post_init__(self) -> None:
        if urlsplit(self.endpoint).scheme not in ("http", "https") or not urlsplit(self.endpoint).netloc:
            rule = "must be an address that begins with http or https"
            raise InputError(rule, field="endpoint", value=self.endpoint)

    def draft(self, brief: str, shots: int) -> dict[str, Any]:
        """A board of so many shots.

        Raises:
            InputError: nothing to write about, the server does not answer, or what it answers is no storyboard.
        """
        SHOTS.check("shots", shots)
        if not brief.strip() or len(brief) > MOST_BRIEF:
            raise InputError(f"must be a few words, at most {MOST_BRIEF} characters", field="brief")
        board = _board(self._answer(f"{brief.strip()}\n\nWrite exactly {shots} shots."))
        from_document(board, "draft")
        return board

    def _answer(self, text: str) -> str:
        messages = [{"role": "system", "content": RULES}, {"role": "user", "content": text}]
        body = json.dumps({"model": self.model, "messages": messages, "temperature": 0.8}).encode()
        address = f"{self.endpoint.rstrip('/')}/chat/completions"
        request = Request(address, body, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=SECONDS) as response:
                answer = json.loads(response.read(MOST_ANSWER))
            found = answer["choices"][0]["message"]["content"]
        except HTTPError as error:
            raise InputError(f"answered {error.code}", field="endpoint", value=self.endpoint) from error
        except (HTTPException, OSError) as error:
            why = getattr(error, "reason", error)
            raise InputError(f"does not answer: {why}", field="endpoint", value=self.endpoint) from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise InputError("does not answer as chat completions do", field="endpoint", value=self.endpoint) from error
        return str(found)


def _board(text: str) -> dict[str, Any]:
    """The storyboard in an answer, which may stand between words or in a fence."""
    found = _OBJECT.search(text)
    try:
        board = json.loads(found[0]) if found else None
    except ValueError:
        board = None
    shots = board.get("shots") if isinstance(board, Mapping) else None
    if not isinstance(board, Mapping) or not isinstance(shots, list):
        raise InputError("the model did not write a storyboard; try again, or another model", field="endpoint")
    found_shots = [shot if isinstance(shot, Mapping) else {"caption": shot} for shot in shots]
    captions = [{"caption": shot.get("caption")} for shot in found_shots]
    return {"global_caption": board.get("global_caption"), "shots": captions}
