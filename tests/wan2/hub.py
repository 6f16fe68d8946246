"""A small hub on loopback: lists what is published and serves it, also from the middle on, and can go dead."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0" * 40
MISSING = {"X-Error-Code": "RepoNotFound"}
TREE = re.compile(r"/api/models/(.+)/tree/main\?.*")
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Hub:
    """What is published, as repository/name, and what was asked for.

    stop_after: bytes of one answer after which nothing more comes; `stuck` then says so.
    """

    content: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    stop_after: int | None = None
    stuck: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def listed(self, repository: str) -> bytes:
        """The files of a repository, and a folder."""
        start = f"{repository}/"
        files = [
            {"type": "file", "path": name.removeprefix(start), "size": len(data), "oid": COMMIT}
            for name, data in self.content.items()
            if name.startswith(start)
        ]
        return json.dumps([*files, {"type": "directory", "path": "x", "oid": COMMIT}]).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers for a hub."""

    hub: Hub

    def do_HEAD(self) -> None:
        self.file(body=False)

    def do_GET(self) -> None:
        if found := TREE.fullmatch(self.path):
            self.hub.asked.append(f"tree {found[1]}")
            known = any(name.startswith(f"{found[1]}/") for name in self.hub.content)
            self.answer(200 if known else 404, self.hub.listed(found[1]) if known else b"{}", {} if known else MISSING)
        else:
            self.file(body=True)

    def file(self, body: bool) -> None:
        name = re.sub(r"/resolve/(main|0+)/", "/", self.path).removeprefix("/")
        data = self.hub.content.get(name)
        if data is None:
            self.answer(404, b"", {})
            return
        span = RANGE.fullmatch(self.headers.get("Range", ""))
        start, stop = (int(span[1]), int(span[2] or len(data) - 1) + 1) if span else (0, len(data))
        headers = {"ETag": f'"{len(name)}-{len(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if span:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        if body:
            self.hub.asked.append(f"{name} from {start}")
        self.answer(206 if span else 200, data[start:stop], headers, body)

    def answer(self, code: int, data: bytes, headers: dict[str, str], body: bool = True) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        stop = self.hub.stop_after
        if body and stop is not None and len(data) > stop:
            self.wfile.write(data[:stop])
            self.wfile.flush()
            self.hub.stuck.set()
            threading.Event().wait(60)
        elif body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(content: dict[str, bytes]) -> Iterator[Hub]:
    """A hub that serves this content while the block runs."""
    hub = Hub(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (Handler,), {"hub": hub}))
    server.daemon_threads, server.block_on_close = True, False
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
