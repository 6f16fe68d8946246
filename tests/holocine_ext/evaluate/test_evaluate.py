"""The evaluator's command line from end to end, and what it finds asked. TransNetV2 has its own tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from holocine_ext.evaluate.asked import find_asked
from holocine_ext.evaluate.cli import main
from holocine_ext.evaluate.nano_world.captions import describe
from holocine_ext.evaluate.nano_world.world import Scene, draw, random_cuts, random_scene
from wan2.errors import InputError
from wan2.run.video_io import VideoWriter

QUICK = ["--detector", "nano", "--device", "cpu"]


def scene_of(seed: int, shots: int = 2) -> Scene:
    rng = Random(seed)
    return random_scene(rng, 25, random_cuts(rng, 25, shots, shortest=8))


def film(path: Path, scene: Scene, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, 8, (64, 64), metadata or {}, crf=16) as writer:
        for frame in draw(scene):
            writer.write(frame)
    return path


def record(seed: int, scene: Scene, **changes: object) -> dict[str, Any]:
    captions = describe(Random(seed), scene)
    told = {"title": captions.global_caption or "", "captions": list(captions.shots), "cuts": scene.cuts}
    return {**told, "model": "nano", **changes}


def run_of(folder: Path, seed: int, **changes: object) -> Path:
    """A film of nano's world and its record."""
    scene = scene_of(seed)
    path = film(folder / f"{seed}.mp4", scene)
    path.with_suffix(".json").write_text(json.dumps(record(seed, scene, **changes)))
    return path


def test_folders_become_rows_with_the_ceiling_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run_of(tmp_path / "good", 1)
    run_of(tmp_path / "bad", 1, cuts=[21])
    film(tmp_path / "good/1_shot01.mp4", scene_of(1, 1))
    film(tmp_path / "good/other.mp4", scene_of(1, 1))
    words = [str(tmp_path / "good"), str(tmp_path / "bad"), *QUICK, "--save_path", str(tmp_path / "report")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "other.mp4: left out, no record" in said.err and "_shot01" not in said.err
    assert said.out.split()[-2:] == [str(tmp_path / "report" / name) for name in ("report.html", "report.json")]
    document = json.loads((tmp_path / "report/report.json").read_text())
    rows = {row["row"].rsplit("/", 1)[-1]: row["columns"] for row in document["summary"]}
    assert list(rows) == ["good", "bad", "nano's own drawings (ceiling)"]
    assert (
        rows["good"]["SCA"]["mean"] == rows["good"]["captions agree"]["mean"] == rows["good"]["hat kept"]["mean"] == 1
    )
    assert rows["bad"]["SCA"]["mean"] < 0.9 and rows["bad"]["right number of cuts"]["mean"] == 1
    assert [len(document[name]) for name in ("videos", "ceiling")] == [2, 2]
    page = (tmp_path / "report/report.html").read_text()
    assert page.count("data:image/jpeg") == 2 and "E_matched" in said.out


def test_a_storyboard_for_a_video_of_another_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scene = scene_of(5)
    cut = scene.cuts[0]
    video = film(tmp_path / "other.mp4", scene)
    board = {
        "global_caption": "A cat.",
        "shots": [{"caption": "It <b>sits</b>."}, {"caption": "It runs.", "cut_frame": cut}],
    }
    (tmp_path / "board.json").write_text(json.dumps(board))
    words = [str(video), *QUICK, "--storyboard", str(tmp_path / "board.json")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "consistency and caption agreement are not measured; --embed_model" in said.err
    assert "SCA                   1.000 1.000-1.000" in said.out.splitlines()
    page = (tmp_path / "evaluation/report.html").read_text()
    assert "It &lt;b&gt;sits&lt;/b&gt;." in page and "<b>" not in page


def test_what_a_storyboard_leaves_open(tmp_path: Path):
    video = film(tmp_path / "a.mp4", scene_of(5))
    shots: list[dict[str, object]] = [{"caption": "one"}, {"caption": "two"}, {"caption": "three"}]
    for lengths, cuts in (([None] * 3, (10, 20)), ([1.0, 0.5, None], (8, 12))):
        timed = [shot | ({"seconds": length} if length else {}) for shot, length in zip(shots, lengths, strict=True)]
        (tmp_path / "board.json").write_text(json.dumps({"global_caption": "A cat.", "shots": timed}))
        ((asked,), _) = find_asked([video], tmp_path / "board.json", "")
        assert asked.cuts_in(30, 8.0) == cuts


def test_records_beside_inside_and_named_themselves(tmp_path: Path):
    scene = scene_of(3)
    inside = film(tmp_path / "inside.mp4", scene, {"comment": json.dumps(record(3, scene))})
    beside = run_of(tmp_path, 4)
    asked, _ = find_asked([inside, beside, beside.with_suffix(".json")], None, "")
    assert [(one.video, one.model) for one in asked] == [(inside, "nano"), (beside, "nano")]
    assert asked[0].cuts == tuple(scene.cuts)


def test_a_video_shorter_than_asked_has_missed_its_cuts(tmp_path: Path):
    path = run_of(tmp_path, 6, cuts=[9, 400], captions=["one", "two", "three"])
    assert main([str(path), *QUICK, "--save_path", str(tmp_path / "r")]) == 0
    (video,) = json.loads((tmp_path / "r/report.json").read_text())["videos"]
    assert video["cuts"]["nano"]["missed"] and len(video["shots"]) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["absent.mp4"], "no such file or folder"),
        (["{dir}/plain.mp4"], "no record next to it or inside it"),
        (["{dir}/empty"], "no video with a record"),
        (["{dir}/lone.json"], "no video of that name next to the record"),
        (["{dir}/damaged.mp4"], "its record is damaged"),
        (["{dir}/broken.mp4", "--storyboard", "{dir}/fine.json"], "is not a video that can be read"),
        (["{dir}/plain.mp4", "--storyboard", "{dir}/cuts.json"], "must be ascending frames above 0, 1 for 2 shots"),
        (["{dir}/plain.mp4", "--storyboard", "absent.toml"], "no such file"),
        (["{dir}/plain.mp4", "--device", "toaster", "--storyboard", "{dir}/fine.json"], "must be auto, cpu, cuda"),
        (["{dir}/plain.mp4", "--save_path", "{dir}/plain.mp4"], "is a file; the report takes a folder"),
        (["{dir}/plain.mp4", "--detector", "guess"], "invalid choice"),
        ([], "the following arguments are required: PATH"),
    ],
)
def test_refused_in_one_line(words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    film(tmp_path / "plain.mp4", scene_of(1, 1))
    (tmp_path / "broken.mp4").write_text("words")
    (tmp_path / "empty").mkdir()
    (tmp_path / "lone.json").write_text("{}")
    run_of(tmp_path, 1, cuts=[9, 5]).rename(tmp_path / "damaged.mp4")
    (tmp_path / "1.json").rename(tmp_path / "damaged.json")
    board: dict[str, Any] = {"global_caption": "A cat.", "shots": [{"caption": "one"}, {"caption": "two"}]}
    (tmp_path / "fine.json").write_text(json.dumps(board))
    (tmp_path / "cuts.json").write_text(json.dumps({**board, "shot_cut_frames": [9, 5]}))
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert main(["--detector", "nano", *(word.format(dir=tmp_path) for word in words)]) == 2
    (said,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("holocine_evaluate: ")]
    assert line in said
    assert sorted(tmp_path.rglob("*")) == before


def test_facts_of_other_sizes_are_not_read(tmp_path: Path):
    scene = scene_of(7)
    with VideoWriter(tmp_path / "a.mp4", 8, (32, 32), {}, crf=16) as writer:
        for frame in draw(replace(scene))[:, ::2, ::2]:
            writer.write(frame)
    (tmp_path / "a.json").write_text(json.dumps(record(7, scene)))
    with pytest.raises(InputError, match="facts can be read only from frames of nano"):
        from holocine_ext.evaluate.measure import Means, measure_video

        ((asked,), _) = find_asked([tmp_path / "a.mp4"], None, "")
        measure_video(asked, Means({"none": lambda _: ()}))
