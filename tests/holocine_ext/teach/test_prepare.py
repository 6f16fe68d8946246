"""Films made into clips by the real command: cuts found, labels kept, what is left out, captions, refusals."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holocine_ext.evaluate.nano_world.read import find_cuts
from holocine_ext.evaluate.nano_world.world import draw
from holocine_ext.story.boards import from_file
from holocine_ext.teach import screens
from holocine_ext.teach.prepare_cli import main
from tests.holocine_ext.teach.drawn import scene_of, write_board, write_film
from wan2.run.video_io import VideoWriter, read_video

QUICK = ["--model", "nano", "--detector", "nano", "--device", "cpu", "--lengths", "4"]


def prepared(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return document


def test_a_film_at_another_rate_becomes_a_clip_whose_labels_are_its_cuts(tmp_path: Path):
    scene = scene_of(3, 37, 3)
    write_film(tmp_path / "film.mp4", scene, fps=24.0, repeats=3)
    out = tmp_path / "data"
    assert main([str(tmp_path / "film.mp4"), *QUICK, "--save_path", str(out)]) == 0
    (clip,) = prepared(out)["clips"]
    # Every shot but the first lost what the grid has no room for, and nothing moved.
    frames = read_video(out / "film-001.mp4")
    assert len(frames) == clip["frames"] and len(frames) % 4 == 1
    assert find_cuts(frames) == clip["cuts"] and all(cut % 4 == 1 for cut in clip["cuts"])
    drawn = draw(scene)
    edges = [0, *clip["cuts"]]
    for at, source in zip(edges, [0, *scene.cuts], strict=True):
        assert np.abs(frames[at].astype(int) - drawn[source]).mean() < 12
    assert "write" in (out / "film-001.toml").read_text() and (out / "film-001_sheet.png").is_file()
    assert "data:image/png" in (out / "report.html").read_text()


def test_a_film_with_a_storyboard_is_taken_as_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scene = scene_of(4, 33, 2)
    write_film(tmp_path / "in/a.mp4", scene)
    cut = scene.cuts[0] + 1  # off the grid: three frames of the first shot go, the label stays where it is
    write_board(tmp_path / "in/a.json", scene, 4, [cut])
    out = tmp_path / "data"
    assert main([str(tmp_path / "in"), *QUICK, "--save_path", str(out)]) == 0
    board = from_file(out / "a.toml")
    (clip,) = prepared(out)["clips"]
    assert clip["source"] == [[0, cut], [cut, 33]] and board.shot_cut_frames == (scene.cuts[0],)
    assert board.shot_captions == from_file(tmp_path / "in/a.json").shot_captions and clip["captioned"]
    assert "captions to write" not in capsys.readouterr().err


def test_what_is_left_out_is_named_with_why(tmp_path: Path):
    dark = np.zeros((24, 64, 64, 3), np.uint8)
    bright = [frame for seed in (5, 6) for frame in draw(scene_of(seed, 33, 1))]
    with VideoWriter(tmp_path / "film.mp4", 8.0, (64, 64), {}, crf=4) as writer:
        for frame in [*bright[:33], *dark, *bright[33:], *bright[:3]]:
            writer.write(frame)
    out = tmp_path / "data"
    assert main([str(tmp_path / "film.mp4"), *QUICK, "--save_path", str(out)]) == 0
    why = {tuple(left["frames"]): left["why"] for left in prepared(out)["left_out"]}
    assert why[33, 57].startswith("too dark: mean brightness 0.0") and why[90, 93].startswith("too short: 0.38 s")
    assert [clip["source"] for clip in prepared(out)["clips"]] == [[[0, 33]], [[57, 90]]]
    assert "too dark" in (out / "report.html").read_text()


def test_subtitles_and_scores_leave_shots_out(tmp_path: Path):
    film = write_film(tmp_path / "film.mp4", scene_of(7, 33, 2))
    from holocine_ext.teach.films import survey
    from holocine_ext.teach.prepare import _shots_of

    first, second = _shots_of(survey(film), scene_of(7, 33, 2).cuts)
    seen: list[int] = []

    def read(picture: np.ndarray) -> str:
        seen.append(len(picture))
        return "what?" if len(seen) <= 3 else "-"

    found = screens.seen_unfit(film, [first, second], [screens.without_subtitles(read)])
    assert found == {first: "has subtitles: 'what?'"} and set(seen) == {26}
    low = screens.at_least(lambda picture: float(picture.mean()) / 255, 2.0)
    assert set(screens.seen_unfit(film, [first, second], [low])) == {first, second}


def test_a_predictor_with_one_output_scores(tmp_path: Path):
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    for labels in (1, 2):
        config = ViTConfig(image_size=32, patch_size=16, num_labels=labels, **sizes)
        ViTForImageClassification(config).save_pretrained(tmp_path / str(labels))
        ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / str(labels))
    assert isinstance(screens.open_scorer(tmp_path / "1", "cpu")(np.zeros((64, 64, 3), np.uint8)), float)
    write_film(tmp_path / "film.mp4", scene_of(7))
    words = [str(tmp_path / "film.mp4"), *QUICK, "--save_path", str(tmp_path / "data")]
    assert main([*words, "--aesthetic_model", str(tmp_path / "2"), "--aesthetic_least", "5"]) == 2
    assert not (tmp_path / "data").exists()


@contextmanager
def endpoint(answers: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A vision endpoint on this machine, and what it was asked; an empty answer is a failure."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
            said = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(200 if said else 503)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": said}}]}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_captions_come_from_an_endpoint_in_two_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    write_film(tmp_path / "film.mp4", scene_of(8))
    out = tmp_path / "data"
    with endpoint(["[shot cut] not a caption", "A ball,\n wide.", "A ball, close.", "A meadow."]) as (url, asked):
        words = ["--endpoint", url, "--caption_model", "eyes", "--save_path", str(out)]
        assert main([str(tmp_path / "film.mp4"), *QUICK, *words]) == 0
    board = from_file(out / "film-001.toml")
    assert (board.global_caption, board.shot_captions) == ("A meadow.", ("A ball, wide.", "A ball, close."))
    assert {(one["path"], one["model"], one["key"]) for one in asked} == {
        ("/v1/chat/completions", "eyes", "Bearer secret")
    }
    pictures = [sum(part["type"] == "image_url" for part in one["messages"][0]["content"]) for one in asked]
    assert pictures == [3, 3, 3, 2]
    assert prepared(out)["clips"][0]["captioned"] is True and "secret" not in (out / "report.json").read_text()


def test_an_endpoint_that_fails_leaves_captions_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_film(tmp_path / "film.mp4", scene_of(8))
    out = tmp_path / "data"
    with endpoint([""]) as (url, asked):
        words = ["--endpoint", url, "--caption_model", "eyes", "--save_path", str(out)]
        assert main([str(tmp_path / "film.mp4"), *QUICK, *words]) == 0
    assert len(asked) == 3
    assert "film-001: left to write; --endpoint" in capsys.readouterr().err
    assert prepared(out)["clips"][0]["captioned"] is False


BAD: list[tuple[list[str], str]] = [
    (["gone.mp4"], "gone.mp4: no such file"),
    (["empty"], "empty: no film"),
    (["note.mp4"], "note.mp4: is not a video"),
    (["film.mp4", "again/film.mp4"], "two films are called film"),
    (["two.mp4"], "two storyboards beside it"),
    (["odd.mp4"], r"odd.json: cuts \[99\] do not ascend inside the 33 frames"),
    (["long.mp4"], "long.json: num_frames 37: long.mp4 has 33 frames"),
    (["film.mp4", "--lengths", "60"], "no clip can be made of these films; 2 shots were left out"),
    (["film.mp4", "--lengths", "x"], "--lengths: 'x' is not a number"),
    (["film.mp4", "--fps", "0"], "--fps 0.0: must lie between"),
    (["film.mp4", "--height", "100"], "--height 100|--video_size 100"),
    (["film.mp4", "--endpoint", "http://x/v1"], "--endpoint http://x/v1: needs --caption_model, too"),
    (["film.mp4", "--caption_model", "eyes"], "--caption_model eyes: needs --endpoint, too"),
    (["film.mp4", "--endpoint", "ftp:x", "--caption_model", "eyes"], "--endpoint ftp:x: must be a URL"),
    (["film.mp4", "--aesthetic_model", "gone"], "--aesthetic_model gone: needs --aesthetic_least, too"),
    (["film.mp4", "--aesthetic_model", "gone", "--aesthetic_least", "1"], "--aesthetic_model gone: cannot be loaded"),
    (["film.mp4", "--device", "tpu"], "--device tpu: must be"),
    (["film.mp4", "--detector", "eyes"], "--detector: invalid choice"),
    (["film.mp4", "--save_path", "full"], "--save_path full: is not empty"),
    (["film.mp4", "--save_path", "film.mp4"], "--save_path film.mp4: .*is a file"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of films, most of which will not do."""
    folder, scene = Path(tmp_path_factory.mktemp("bad")), scene_of(9)
    for name in ("film.mp4", "again/film.mp4", "two.mp4", "odd.mp4", "long.mp4"):
        write_film(folder / name, scene)
    for name in ("two.json", "two.yaml"):
        write_board(folder / name, scene, 9)
    write_board(folder / "odd.json", scene, 9, [99])
    long = write_board(folder / "long.json", scene, 9)
    long.write_text(json.dumps({**json.loads(long.read_text()), "num_frames": 37}))
    (folder / "note.mp4").write_text("no video")
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full/mine.txt").write_text("mine")
    return folder


@pytest.mark.parametrize(("words", "said"), BAD, ids=lambda value: value if isinstance(value, str) else None)
def test_bad_input_is_one_line(
    words: list[str], said: str, bad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(bad)
    before = set(bad.rglob("*"))
    assert main([*QUICK, "--save_path", "data", *words]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(said, line), line
    assert set(bad.rglob("*")) == before
