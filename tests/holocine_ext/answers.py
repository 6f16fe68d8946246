"""A server of chat completions on this machine, which answers what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest


class Model(HTTPServer):
    """Answers `content`, or one of `answers` after the other, and remembers what it was asked."""

    content = ""
    status = 200
    knows_schemas = True
    asked: dict[str, Any]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.answers: list[str] = []
        self.questions: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answers(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:  # noqa: N802
        self.server.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked["path"] = self.path
        self.server.questions.append(self.server.asked)
        status = self.server.status
        if "response_format" in self.server.asked and not self.server.knows_schemas:
            status = 400
        elif self.server.answers:
            self.server.content = self.server.answers.pop(0)
        body = json.dumps({"choices": [{"message": {"content": self.server.content}}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:  # type: ignore[override]
        pass


@pytest.fixture(name="model")
def served_model() -> Iterator[Model]:
    with Model() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
