"""What a report may replace, and that names and records of any kind stay text in it."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path

import pytest

from holocine_ext.evaluate.cli import main
from holocine_ext.evaluate.files import DATA, PAGE, check_report, held_report, is_our_data, is_our_page
from holocine_ext.evaluate.result import MEASURES
from holocine_ext.evaluate.table import LABEL
from tests.holocine_ext.evaluate.test_evaluate import QUICK, film, record, run_of, scene_of
from wan2.errors import InputError, RunError
from wan2.files import held

HOSTILE = "\x1b[2J\x9b\u202e\u200b<b>|"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that refuses; nothing in the folder has changed."""
    before = contents(folder)
    capsys.readouterr()
    assert main(words) == 2
    assert contents(folder) == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_an_earlier_report_goes_only_where_that_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [str(run_of(tmp_path / "v", 1)), *QUICK, "--no_ceiling"]
    assert main(words) == 0
    folder = tmp_path / "v/evaluation"
    assert {path.name for path in folder.iterdir()} == {PAGE, DATA}
    assert is_our_page(folder / PAGE) and is_our_data(folder / DATA)
    assert "is there from an earlier evaluation" in refused(words, tmp_path, capsys)
    first = (folder / DATA).read_text()
    (folder / "notes.txt").write_text("mine")
    assert main([*words, "--overwrite"]) == 0
    assert (folder / DATA).read_text() == first
    assert {path.name for path in folder.iterdir()} == {PAGE, DATA, "notes.txt"}


@pytest.mark.parametrize("name", [PAGE, DATA])
@pytest.mark.parametrize(
    "content", ["", "mine", "{", '{"protocol": "https"}', "<!doctype html><title>mine</title>", "\xff\x00", None]
)
def test_what_is_not_a_report_is_never_replaced(
    name: str, content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    video = run_of(tmp_path, 1)
    (tmp_path / "r").mkdir()
    if content is None:
        (tmp_path / "r" / name).mkdir()
    else:
        (tmp_path / "r" / name).write_text(content, encoding="latin-1")
    line = refused([str(video), *QUICK, "--save_path", str(tmp_path / "r"), "--overwrite"], tmp_path, capsys)
    assert f"something that this program did not make stands at {tmp_path / 'r' / name}" in line


@pytest.mark.parametrize("target", ["1.mp4", "absent", "evaluation/report.html"])
def test_a_link_is_never_written_through(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    video = run_of(tmp_path, 1)
    assert main([str(video), *QUICK, "--no_ceiling"]) == 0
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / PAGE).symlink_to(tmp_path / target)
    line = refused([str(video), *QUICK, "--save_path", str(tmp_path / "r"), "--overwrite"], tmp_path, capsys)
    assert "a link stands at" in line


def test_the_record_of_a_video_called_report_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    video = run_of(tmp_path, 1).rename(tmp_path / "report.mp4")
    (tmp_path / "1.json").rename(tmp_path / DATA)
    os.link(tmp_path / DATA, tmp_path / "record.json")
    line = refused([str(video), *QUICK, "--save_path", str(tmp_path), "--overwrite"], tmp_path, capsys)
    assert str(tmp_path / DATA) in line


def test_a_second_evaluation_at_once_is_refused_and_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    video = run_of(tmp_path, 1)
    with held(tmp_path / "r" / PAGE):
        assert main([str(video), *QUICK, "--save_path", str(tmp_path / "r")]) == 1
        assert "another process is writing a report there now" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    assert main([str(video), *QUICK, "--save_path", str(tmp_path / "r")]) == 0


def test_a_report_that_fails_leaves_no_folder(tmp_path: Path):
    def fail() -> None:
        with held_report(tmp_path / "a/b", replace=False):
            assert (tmp_path / "a/b").is_dir()
            raise RunError("measuring failed")

    with pytest.raises(RunError, match="measuring failed"):
        fail()
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").write_text("a file")
    with pytest.raises(InputError, match="is a file; the report takes a folder"):
        check_report(tmp_path / "a/b", replace=True)


def test_hostile_names_and_captions_stay_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / f"row {HOSTILE}".replace("/", "") / os.fsdecode(b"\xff\n")
    folder.parent.mkdir()
    run_of(folder, 1, title=HOSTILE + "x " * 6000, captions=[HOSTILE * 40, "second\nline"])
    assert main([str(folder), *QUICK, "--no_ceiling", "--save_path", str(tmp_path / "r")]) == 0
    page, data = ((tmp_path / "r" / name).read_text("utf-8") for name in (PAGE, DATA))
    out = capsys.readouterr().out
    table = out.split("\n\n")[0]
    for text in (page, data, table):
        assert not [char for char in text if unicodedata.category(char) in {"Cc", "Cf", "Cs"} and char != "\n"]
    assert "<b>" not in page and len(re.sub('base64,[^"]*', "", page)) < 20_000
    assert max(map(len, table.splitlines())) <= 80
    labels = [line[:LABEL].strip() for line in table.splitlines() if not line.startswith(" ")]
    assert labels[:2] == ["videos", "SCA"] and set(labels[2:]) <= {"right number of cuts", *MEASURES.values()}
    assert json.loads(data)["videos"][0]["row"] == str(folder)


DAMAGED = {
    "half a character": json.dumps({**record(1, scene_of(1)), "title": "\ud800"}),
    "deep": "[" * 100_000,
    "digits": '{"cuts": [' + "9" * 5000 + "]}",
    "a cut beyond any video": json.dumps({**record(1, scene_of(1)), "cuts": [10**400]}),
    "true as a cut": json.dumps({**record(1, scene_of(1)), "cuts": [True]}),
    "captions in a table": json.dumps({**record(1, scene_of(1)), "captions": {"0": "a"}}),
    "a list": "[]",
    "large": json.dumps({**record(1, scene_of(1)), "title": "x" * 10**6}),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("inside", [False, True])
def test_a_damaged_record_is_one_line(kind: str, inside: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    video = film(tmp_path / "a.mp4", scene_of(1), {"comment": DAMAGED[kind]} if inside else None)
    if not inside:
        video.with_suffix(".json").write_text(DAMAGED[kind])
    assert len(refused([str(video), *QUICK], tmp_path, capsys)) < 1000


def test_metadata_that_is_not_text_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    video = film(tmp_path / "a.mp4", scene_of(1), {"comment": "to be replaced"})
    video.write_bytes(video.read_bytes().replace(b"to be replaced", b"\xff\xfe" * 7))
    assert "no record next to it or inside it" in refused([str(video), *QUICK], tmp_path, capsys)
    video.with_suffix(".json").write_text(json.dumps(record(1, scene_of(1))))
    assert main([str(video), *QUICK, "--no_ceiling"]) == 0
