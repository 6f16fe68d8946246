"""The page's server as a real process of the real script, and how a browser would talk to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[3]
TINY = {"infer_steps": 4, "variant": "sparse"}


@dataclass
class Served:
    """A server that runs, and the folder that it serves."""

    folder: Path
    process: subprocess.Popen[str]
    address: str

    @property
    def host(self) -> str:
        return self.address.removeprefix("http://").partition("/")[0]

    def send(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        """One request, with the headers of the page's own, but for those given; "" leaves one out."""
        known = {"Host": self.host, "Origin": f"http://{self.host}", "Sec-Fetch-Site": "same-origin"} | (headers or {})
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = HTTPConnection(self.host, timeout=30)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in known.items():
            if value:
                connection.putheader(name, value)
        if content is not None:
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        response = connection.getresponse()
        return response, response.read()

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        """The answer to a request that is not refused."""
        response, content = self.send(method, path, body)
        assert response.status == 200, (path, response.status, content)
        return json.loads(content)

    def board(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "/api/boards/scene.json")
        return found

    def render(self, count: int = 1, **settings: object) -> list[str]:
        """Put the board into the queue; the names of its takes."""
        asked = {"name": "scene.json", "document": self.board()["document"], "settings": {**TINY, **settings}}
        found: list[str] = self.ask("POST", "/api/queue", asked | {"count": count})["takes"]
        return found

    def workers(self) -> list[psutil.Process]:
        """The processes that make films of this folder."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if "studio.worker" in words and str(self.folder) in words:
                found.append(process)
        return found


@contextmanager
def served(folder: Path, *words: str) -> Iterator[Served]:
    """A server of a folder, until the block ends; then its workers end, too."""
    command = [sys.executable, str(ROOT / "holocine_studio.py"), str(folder), "--port", "0", "--no_browser", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=folder.parent) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        server = Served(folder, process, address)
        try:
            assert address, process.wait()
            yield server
        finally:
            process.kill()
            for worker in server.workers():
                worker.kill()


def until(condition: Any, seconds: float = 120) -> None:  # noqa: ANN401
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
