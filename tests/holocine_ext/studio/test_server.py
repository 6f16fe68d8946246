"""The page's server, run as a process: who is let in, what is answered, and films that survive kills."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.holocine_ext.studio.served import ROOT, Served, served, until

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("studio") / "film") as server:
        yield server


def test_a_new_film_begins_with_a_scene_for_the_miniature(studio: Served):
    film = studio.ask("GET", "/api/film")
    assert list(film["boards"]) == ["scene.json"] and film["settings"] == {}
    plan = studio.ask("POST", "/api/plan", studio.board() | {"settings": {}})
    assert plan["shots"] == [[0, 13], [13, 21], [21, 33]]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Host": "evil.example"},
        {"Host": "evil.example:80", "Origin": "http://evil.example:80"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(headers: dict[str, str], studio: Served):
    before = studio.board()
    new = {"document": {"global_caption": "x"}, "version": before["version"]}
    for method, path in (
        ("PUT", "/api/boards/scene.json"),
        ("POST", "/api/queue"),
        ("POST", "/api/boards?name=a.json"),
    ):
        response, _ = studio.send(method, path, new, headers)
        assert response.status == 403
    assert studio.board() == before


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/film", {"Host": "evil.example", "Origin": ""}),
        ("/api/boards/scene.json", {"Sec-Fetch-Site": "cross-site", "Origin": ""}),
        ("/", {"Host": "evil.example", "Origin": ""}),
    ],
)
def test_a_page_of_another_site_reads_nothing(path: str, headers: dict[str, str], studio: Served):
    response, content = studio.send("GET", path, None, headers)
    assert response.status == 403 and b"meadow" not in content


@pytest.mark.parametrize(
    "path",
    [
        "/takes/../scene.json",
        "/takes/..%2fscene.json",
        "/takes/%2e%2e/queue",
        "/static/../cli.py",
        "/static/..%2fcli.py",
        "/takes/marks.json%00.png",
        "/api/boards/..%2f..%2fetc%2fpasswd.json",
        "/api/boards/studio.json",
        "/takes/.hidden.mp4",
    ],
)
def test_no_path_leads_out(path: str, studio: Served):
    response, content = studio.send("GET", path)
    assert response.status in (404, 422) and b"global_caption" not in content and b"import" not in content


def test_what_is_too_long_is_not_read(studio: Served):
    with socket.create_connection(tuple(studio.host.split(":"))) as client:
        head = f"PUT /api/boards/scene.json HTTP/1.1\r\nHost: {studio.host}\r\nOrigin: http://{studio.host}\r\n"
        client.sendall(f"{head}Content-Length: 2000000000\r\n\r\n".encode())
        client.settimeout(20)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += client.send(b" " * 65536)
        except OSError:
            pass
        assert sent < 64 << 20
    assert psutil.Process(studio.process.pid).memory_info().rss < 200e6


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"document": 3, "version": "x"}', b'{"name": 3}']
)
def test_what_is_no_request_is_refused(body: bytes, studio: Served):
    for method, path in (("PUT", "/api/boards/scene.json"), ("POST", "/api/plan"), ("POST", "/api/queue")):
        response, _ = studio.send(method, path, body)
        assert response.status in (400, 409, 422)


def test_the_page_keeps_to_itself(studio: Served):
    response, content = studio.send("GET", "/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    text = content.decode()
    static = ROOT / "holocine_ext/studio/static"
    everything = text + "".join(path.read_text(encoding="utf-8") for path in static.iterdir())
    assert "https://" not in everything and everything.count("http://") == everything.count(
        "http://www.w3.org/2000/svg"
    )
    assert not [
        word for word in ("innerHTML", "outerHTML", "insertAdjacent", "eval(", "document.write") if word in everything
    ]
    assert sum(path.stat().st_size for path in static.iterdir()) < 200_000


def test_a_board_that_was_changed_elsewhere_is_shown_and_not_replaced(studio: Served):
    name = studio.ask("POST", "/api/boards?name=two.json", {"global_caption": SCRIPT, "shots": [{"caption": "A"}]})[
        "name"
    ]
    opened = studio.ask("GET", f"/api/boards/{name}")
    (studio.folder / name).write_text('{"global_caption": "by an editor", "shots": [{"caption": "A"}]}')
    response, content = studio.send("PUT", f"/api/boards/{name}", {"document": {}, "version": opened["version"]})
    assert response.status == 409
    assert json.loads(content)["changed"]["document"]["global_caption"] == "by an editor"


def test_a_forged_record_breaks_no_gallery(studio: Served):
    takes = studio.folder / "takes"
    takes.mkdir(exist_ok=True)
    for number, record in enumerate(("{", "[]", '{"options": {}, "checkpoints": {}}', '{"options": 3}')):
        (takes / f"forged-{number}.mp4").touch()
        (takes / f"forged-{number}.json").write_text(record)
    assert [take["name"] for take in studio.ask("GET", "/api/takes")["takes"] if "forged" in take["name"]] == []


def test_films_are_the_same_bytes_through_kills_of_worker_and_server(tmp_path: Path):
    """A worker is killed at a step, a job is paused and its server killed: the film is what a quiet run makes."""
    folder = tmp_path / "film"
    with served(folder) as server:
        (first,) = server.render(infer_steps=8)
        until(lambda: (folder / f"takes/{first}_preview.png").exists())
        for worker in server.workers():
            worker.send_signal(signal.SIGKILL)
        job = jobs(folder)[0]
        # A preview is of the fourth step; fewer are those of the next worker.
        until(lambda: progress(folder, job)["stage"] == "denoise" and 1 <= progress(folder, job)["done"] < 4)
        server.ask("POST", f"/api/queue/{job}", {"do": "hold"})
        until(lambda: progress(folder, job)["state"] == "stopped")
        assert (folder / f"takes/{first}.state.safetensors").exists() and not (folder / f"takes/{first}.mp4").exists()
    with served(folder) as server:
        server.ask("POST", f"/api/queue/{job}", {"do": "run"})
        (quiet,) = server.render(infer_steps=8)
        until(lambda: len(list((folder / "takes").glob("*.mp4"))) == 2)
        assert frames(folder, first) == frames(folder, quiet)
        assert len(jobs(folder)) == 2


def jobs(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "queue").glob("*-000.json"))


def progress(folder: Path, job: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"queue/{job}.progress.json").read_text())
    return found


def frames(folder: Path, name: str) -> bytes:
    """The decoded frames of a take."""
    import av

    with av.open(str(folder / f"takes/{name}.mp4")) as film:
        return b"".join(frame.to_ndarray(format="rgb24").tobytes() for frame in film.decode(video=0))


def test_a_film_is_sent_in_parts_and_marks_are_kept(studio: Served):
    (name,) = studio.render()
    film = studio.folder / f"takes/{name}.mp4"
    until(lambda: film.exists() and studio.ask("GET", "/api/takes")["takes"])
    response, content = studio.send("GET", f"/takes/{name}.mp4", None, {"Range": "bytes=10-19"})
    assert (response.status, content) == (206, film.read_bytes()[10:20])
    studio.ask("PUT", f"/api/takes/{name}", {"kept": True, "note": SCRIPT})
    (take,) = studio.ask("GET", "/api/takes")["takes"]
    assert (take["kept"], take["note"], take["board"], take["seed"]) == (True, SCRIPT, "scene.json", 7)
    board = studio.ask("POST", f"/api/takes/{name}/board")["name"]
    document = studio.ask("GET", f"/api/boards/{board}")["document"]
    assert [shot.get("cut_frame") for shot in document["shots"]] == [None, 13, 21]


def test_listening_for_others_asks_for_a_token(tmp_path: Path):
    with served(tmp_path / "film", "--host", "0.0.0.0") as server:
        port = server.host.rpartition(":")[2]
        token = server.address.partition("?token=")[2]
        local = Served(server.folder, server.process, f"http://127.0.0.1:{port}/")
        assert len(token) >= 32 and local.send("GET", "/api/film")[0].status == 403
        assert local.send("GET", "/api/film?token=x")[0].status == 403
        response, _ = local.send("GET", f"/?token={token}")
        cookie = response.headers["set-cookie"]
        assert response.status == 200 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert local.send("GET", "/api/film", None, {"Cookie": cookie.partition(";")[0]})[0].status == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["film", "--port", "70000"], "--port 70000: must lie between 0 and 65535"),
        (["film", "--device", "tpu"], "--device tpu: must be auto, cpu, mps, cuda or one card such as cuda:1"),
        (["film", "--device", "cpu", "cpu"], "--device cpu: is given twice"),
        (["file"], "is no folder"),
        ([], "FOLDER"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_line(words: list[str], said: str, tmp_path: Path):
    (tmp_path / "file").touch()
    command = [sys.executable, str(ROOT / "holocine_studio.py"), *words, "--no_browser"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, env=dict(os.environ))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert said in done.stderr and [path.name for path in tmp_path.iterdir()] == ["file"]
