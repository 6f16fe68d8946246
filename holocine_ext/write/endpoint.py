"""A language model behind an OpenAI-compatible endpoint, asked for JSON. Knows nothing of storyboards.

Any server of chat completions will do, also one on this machine (llama.cpp, Ollama, vLLM). A server that does not know
JSON schemas is asked once more without; JSON in a fence or between sentences is read, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from holocine_ext.story.embedded import json_in
from wan2.errors import InputError

SECONDS = 180
MOST_ANSWER = 1 << 20
TEMPERATURE = 0.8
# What servers answer to a schema that they do not know.
NO_SCHEMA = (400, 404, 415, 422, 501)
FIELD = "endpoint"


@dataclass(frozen=True)
class Endpoint:
    """A language model: the address of its server, up to `/v1`, its name there, and a key if the server wants one."""

    address: str
    model: str
    key: str = ""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.address)
        except ValueError as error:
            raise InputError(f"is no address ({error})", field=FIELD, value=self.address) from error
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError("must be an address that begins with http or https", field=FIELD, value=self.address)

    def ask(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any]) -> object:
        """The JSON that the model answers; None where it answers with words alone.

        Raises:
            InputError: the server does not answer, or not as chat completions do.
        """
        asked = {"model": self.model, "messages": list(messages), "temperature": TEMPERATURE}
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        try:
            return self._json(self._sent(asked | {"response_format": form}))
        except HTTPError as error:
            if error.code not in NO_SCHEMA:
                raise InputError(f"answered {error.code}", field=FIELD, value=self.address) from error
        try:
            return self._json(self._sent(asked))
        except HTTPError as error:
            raise InputError(f"answered {error.code}", field=FIELD, value=self.address) from error

    def _sent(self, asked: Mapping[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = Request(f"{self.address.rstrip('/')}/chat/completions", json.dumps(asked).encode(), headers)
        try:
            with urlopen(request, timeout=SECONDS) as response:
                content: bytes = response.read(MOST_ANSWER)
        except HTTPError:
            raise
        except (HTTPException, OSError) as error:
            why = getattr(error, "reason", error)
            raise InputError(f"does not answer: {why}", field=FIELD, value=self.address) from error
        return content

    def _json(self, content: bytes) -> object:
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise InputError("does not answer as chat completions do", field=FIELD, value=self.address) from error
        try:
            return json_in(str(text))
        except (ValueError, RecursionError):
            return None
