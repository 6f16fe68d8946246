"""A run for editors from end to end: names, chapters, sound and timelines; and the run found again by its video."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import av
import pytest
from safetensors.torch import load_file

import holocine_ext.cli
from holocine_ext.story.boards import from_file
from tests.tiny import QUICK, TinyModel

BOARD = {
    "global_caption": "A pier.",
    "characters": {"Mara": "a keeper"},
    "soundtrack": "a.wav",
    "num_frames": 9,
    "shots": [{"caption": "Wide shot of [Mara]."}, {"caption": "Close-up of the lamp.", "cut_frame": 5}],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night walk.json").write_text(json.dumps(BOARD))
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\x10\x20" * 16000)
    return tmp_path


def run(tiny: TinyModel, *words: str) -> int:
    return holocine_ext.cli.main([*tiny.flags(), *QUICK, "--no_contact_sheet", *words])


def test_a_run_for_editors(tiny: TinyModel, folder: Path, capsys: pytest.CaptureFixture[str]):
    board = ["--storyboard", "night walk.json"]
    assert run(tiny, *board, "--codec", "ffv1", "--export_timeline", "--export_shots", "--save_path", "out") == 0
    written = [Path(line) for line in capsys.readouterr().out.split("\n") if line]
    stem = written[0].stem
    assert stem.startswith("night_walk-2") and written[0].suffix == ".mkv"
    endings = {path.name.removeprefix(stem) for path in written}
    assert endings == {".mkv", ".safetensors", ".json", ".otio", ".edl", "_shot01.mkv", "_shot02.mkv"}
    with av.open(str(written[0])) as container:
        titles = [one["metadata"]["title"] for one in container.chapters()]
        assert titles == ["1. Wide shot of Mara", "2. Close-up of the lamp"]
        assert [stream.type for stream in container.streams] == ["video", "audio"]
    assert f"* FROM CLIP NAME: {stem}.mkv" in (folder / f"out/{stem}.edl").read_text()
    assert from_file(written[0]).shot_captions == ("Wide shot of [character1].", "Close-up of the lamp.")
    assert run(tiny, "--take", str(written[0]), "--save_path", "again.mp4") == 0
    first, again = (load_file(path)["latents"] for path in (f"out/{stem}.safetensors", "again.safetensors"))
    assert (first == again).all()


def test_with_no_metadata_chapters_say_nothing_of_the_scene(tiny: TinyModel, folder: Path):
    assert run(tiny, "--storyboard", "night walk.json", "--no_metadata", "--save_path", "a.mp4") == 0
    with av.open(str(folder / "a.mp4")) as container:
        assert [one["metadata"]["title"] for one in container.chapters()] == ["1", "2"]
    assert b"Wide shot" not in (folder / "a.mp4").read_bytes()


def test_scenes_of_a_list_may_name_other_models(folder: Path):
    for name, variant in (("a", "full"), ("b", "sparse")):
        board = {**BOARD, "soundtrack": None, "settings": {"model": "nano", "variant": variant}}
        (folder / f"{name}.json").write_text(json.dumps(board))
    (folder / "list.txt").write_text("a.json\nb.json\n")
    words = [*QUICK, "--no_contact_sheet", "--no_latents", "--from_file", "list.txt", "--save_path", "l.mp4"]
    assert holocine_ext.cli.main(words) == 0
    made = [json.loads((folder / f"l-00{number}.json").read_text())["variant"] for number in (1, 2)]
    assert made == ["full", "sparse"]
