"""Captions in two layers, global and for each shot, from a vision model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from PIL import Image

from holocine_ext.evaluate.clip import Frames
from holocine_ext.story.prompt import check_caption
from wan2.errors import InputError, RunError

TRIES = 3
TIMEOUT = 120.0
"""Seconds for one answer."""
LARGEST_SIDE, QUALITY = 768, 90
"""Of the pictures that are sent."""
LONGEST_ANSWER = 1 << 20
OF_SHOT = (
    "These are frames of one camera shot, in order. In one or two plain sentences say what it shows: framing, who is "
    "seen, what happens, camera movement. Write no preamble."
)
OF_ALL = (
    "These are frames of a film, one from each of its shots, in order. In one or two plain sentences say what all "
    "shots share: place, people and how they look, style, light. Do not describe single shots. Write no preamble."
)


@dataclass(frozen=True)
class Captioner:
    """A vision model that is asked for captions.

    endpoint: the base URL, such as http://localhost:8000/v1. model: its name there. key: sent as a bearer token, if
    there is one.
    """

    endpoint: str
    model: str
    key: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError("must be a URL such as http://localhost:8000/v1", field="endpoint", value=self.endpoint)

    def captions(self, shots: Sequence[Sequence[Frames]]) -> tuple[str, list[str]]:
        """The global caption, and one a shot, of pictures uint8 [H, W, 3] of each shot.

        Raises:
            RunError: the endpoint gives no usable answer.
        """
        own = [self._asked(OF_SHOT, pictures) for pictures in shots]
        return self._asked(OF_ALL, [pictures[len(pictures) // 2] for pictures in shots]), own

    def _asked(self, question: str, pictures: Sequence[Frames]) -> str:
        content: list[object] = [{"type": "text", "text": question}]
        content += [{"type": "image_url", "image_url": {"url": _as_url(picture)}} for picture in pictures]
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "temperature": 0}
        said = ""
        for _ in range(TRIES):
            try:
                return self._usable(self._answer(json.dumps(body).encode()))
            except (URLError, HTTPException, OSError, ValueError, KeyError, IndexError, TypeError) as error:
                said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RunError(f"`endpoint` {self.endpoint}: no usable caption in {TRIES} tries ({said})")

    def _answer(self, body: bytes) -> str:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = Request(f"{self.endpoint.rstrip('/')}/chat/completions", body, headers)  # noqa: S310
        with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            document = json.loads(answer.read(LONGEST_ANSWER))
        return str(document["choices"][0]["message"]["content"])

    @staticmethod
    def _usable(text: str) -> str:
        """The answer as a caption, on one line; `InputError` for one that is none."""
        caption = " ".join(text.split())
        check_caption(caption, "the answer")
        return caption


def _as_url(picture: Frames) -> str:
    """A picture as a JPEG in a data URL."""
    image = Image.fromarray(picture)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
