"""`--download` against an endpoint of its own on loopback: what is missing, how much, and on from where it broke off."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from holocine_ext.download import published_files
from tests.refused import refused
from wan2.request.presets import CHECKPOINTS
from wan2.weights.download import Missing, Remote, check_room

ROOT = Path(__file__).parents[2]
FILES = published_files("sparse")
COMMIT = "0" * 40


@dataclass
class Endpoint:
    """What is published, and what was asked for. `stop_after`: bytes of one answer, after which the line is dead."""

    content: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    sent: int = 0
    stop_after: int | None = None
    stuck: threading.Event = field(default_factory=threading.Event)
    url: str = ""


def handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            if found := re.fullmatch(r"/api/models/(.+)/tree/main\?.*", self.path):
                endpoint.asked.append(f"tree {found[1]}")
                start = f"{found[1]}/"
                listed = [
                    {"type": "file", "path": name.removeprefix(start), "size": len(data), "oid": COMMIT}
                    for name, data in endpoint.content.items()
                    if name.startswith(start)
                ]
                self.send(200, json.dumps([*listed, {"type": "directory", "path": "x", "oid": COMMIT}]).encode())
            else:
                self.answer(body=True)

        def answer(self, body: bool) -> None:
            name = self.path.removeprefix("/").replace("/resolve/main/", "/").replace(f"/resolve/{COMMIT}/", "/")
            data = endpoint.content.get(name)
            if data is None:
                self.send(404, b"")
                return
            span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(span[1]) if span else 0
            if body:
                endpoint.asked.append(f"{name} from {start}")
            part = data[start : int(span[2]) + 1 if span and span[2] else None]
            headers = {"ETag": f'"{len(name)}-{len(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if span:
                headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
            self.send(206 if span else 200, part, body, headers)

        def send(self, code: int, data: bytes, body: bool = True, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if not body:
                return
            if endpoint.stop_after is not None and len(data) > endpoint.stop_after:
                self.wfile.write(data[: endpoint.stop_after])
                self.wfile.flush()
                endpoint.stuck.set()
                threading.Event().wait(60)
            self.wfile.write(data)
            endpoint.sent += len(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    content = {f"{file.repository}/{file.name}": bytes([i]) * (3000 + i) for i, file in enumerate(FILES)}
    content["hlwang06/HoloCine/README.md"] = b"words"
    found = Endpoint(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()


def environment(endpoint: Endpoint, home: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": endpoint.url,
        "HF_HOME": str(home / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def command(*words: str) -> list[str]:
    return [sys.executable, str(ROOT / "holocine_generate_video.py"), *words]


def run(endpoint: Endpoint, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = environment(endpoint, folder)
    return subprocess.run(command(*words), cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_what_is_missing_is_fetched_and_only_that(endpoint: Endpoint, tmp_path: Path):
    here = tmp_path / FILES[0].path
    here.parent.mkdir(parents=True)
    here.write_bytes(endpoint.content[f"{FILES[0].repository}/{FILES[0].name}"])
    (tmp_path / FILES[1].path).write_bytes(b"not whole")
    done = run(endpoint, tmp_path, "--download", "sparse")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(file.path) for file in FILES]
    assert f"4 of {len(FILES)} files are missing, 0.0 GB; " in done.stderr
    for file in FILES:
        assert (tmp_path / file.path).read_bytes() == endpoint.content[f"{file.repository}/{file.name}"]
    fetched = [line for line in endpoint.asked if not line.startswith("tree")]
    assert sorted(fetched) == sorted(f"{file.repository}/{file.name} from 0" for file in FILES[1:])
    endpoint.asked.clear()
    assert run(endpoint, tmp_path, "--download", "sparse", "--quiet").stderr == ""
    assert [line.split()[0] for line in endpoint.asked] == ["tree", "tree"]


def test_a_download_goes_on_from_where_it_was_broken_off(endpoint: Endpoint, tmp_path: Path):
    name = f"{FILES[0].repository}/{FILES[0].name}"
    endpoint.content[name] = os.urandom(30_000_000)
    endpoint.stop_after = 25_000_000
    begun = subprocess.Popen(
        command("--download", "sparse"), cwd=tmp_path, env=environment(endpoint, tmp_path), stderr=subprocess.PIPE
    )
    assert endpoint.stuck.wait(60)
    partial = tmp_path / CHECKPOINTS / ".cache/huggingface/download"
    deadline = threading.Event()
    while not sum(path.stat().st_size for path in partial.rglob("*.incomplete")) > 0:
        deadline.wait(0.05)
    begun.kill()
    begun.wait()
    assert not (tmp_path / FILES[0].path).exists()
    endpoint.stop_after = None
    done = run(endpoint, tmp_path, "--download", "sparse")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / FILES[0].path).read_bytes() == endpoint.content[name]
    starts = [int(line.rpartition(" ")[2]) for line in endpoint.asked if line.startswith(name)]
    assert starts[0] == 0 and starts[1] > 0


def test_what_is_not_published_and_a_dead_line_are_one_line(endpoint: Endpoint, tmp_path: Path):
    del endpoint.content[f"{FILES[1].repository}/{FILES[1].name}"]
    done = run(endpoint, tmp_path, "--download", "sparse")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"{FILES[1].repository} has no file {FILES[1].name}")
    endpoint.url = "http://127.0.0.1:9"
    done = run(endpoint, tmp_path, "--download", "full")
    assert done.returncode == 1
    assert "cannot be fetched (" in done.stderr.splitlines()[-1] and "goes on" in done.stderr.splitlines()[-1]
    assert not (tmp_path / CHECKPOINTS).exists()


def test_too_little_room_and_other_flags_are_refused(endpoint: Endpoint, tmp_path: Path):
    huge = Missing(Remote("a/b", "c", tmp_path / "c"), 1 << 60)
    with refused(rf"^--download: needs 1152921504.6 GB more, {tmp_path} has "):
        check_room([huge], tmp_path / "checkpoints")
    done = run(endpoint, tmp_path, "--download", "sparse", "--variant", "sparse")
    assert done.returncode == 2
    assert "--download: fetches files and makes nothing, so it cannot go with --variant" in done.stderr
    assert endpoint.asked == []


def test_the_base_is_fetched_in_half_the_bytes_to_where_a_run_looks():
    names = [file.name for file in published_files("base")]
    assert names[0] == "split_files/diffusion_models/wan2.2_t2v_high_noise_14B_fp16.safetensors"
    assert names[2:] == ["models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth", "google/umt5-xxl/tokenizer.json"]
    assert [file.name for file in FILES][:2] == [
        f"HoloCine_dit/sparse/sparse_{noise}_noise.safetensors" for noise in ("high", "low")
    ]
