"""Drafts by a language model, here one that answers what the test says, on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from holocine_ext.studio.draft import Writer
from wan2.errors import InputError

BOARD = {
    "global_caption": "A lighthouse. [character1] is a keeper.",
    "shots": [{"caption": "Wide shot of [character1]."}],
}


class Model(HTTPServer):
    """Answers `content`, and remembers what it was asked."""

    content = ""
    status = 200
    asked: dict[str, Any]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answers(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:  # noqa: N802
        self.server.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked["path"] = self.path
        body = json.dumps({"choices": [{"message": {"content": self.server.content}}]}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:  # type: ignore[override]
        pass


@pytest.fixture
def model() -> Iterator[Model]:
    with Model(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


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
    assert Writer(model.address, "small").draft("a keeper in the rain", 3) == BOARD
    assert (model.asked["path"], model.asked["model"]) == ("/v1/chat/completions", "small")
    assert model.asked["messages"][1]["content"] == "a keeper in the rain\n\nWrite exactly 3 shots."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("I cannot.", "did not write a storyboard"),
        ("{}", "did not write a storyboard"),
        ('{"global_caption": "A", "shots": []}', "shots"),
        ('{"global_caption": "A", "shots": [{"caption": "[shot cut]"}]}', "holds the tag"),
        ('{"global_caption": 3, "shots": ["A"]}', "must be text"),
    ],
)
def test_what_is_no_storyboard_is_refused(content: str, words: str, model: Model):
    model.content = content
    with pytest.raises(InputError, match=words):
        Writer(model.address, "small").draft("a keeper", 3)


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
