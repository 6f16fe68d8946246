"""Names of a run's files, and files that appear whole or not at all."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from wan2.options import make_options
from wan2.outputs import plan_outputs, whole_file, whole_folder
from wan2.presets import WAN22_T2V

NOON = datetime(2026, 1, 2, 12, 30, 45)


def test_a_file_name_is_kept_and_its_companions_lie_beside_it():
    options = make_options(WAN22_T2V, {"prompt": "x", "save_path": Path("out/a.b.mp4")})
    names = plan_outputs(options, NOON)
    assert names.video == Path("out/a.b.mp4")
    assert [names.record, names.latents] == [Path("out/a.b.json"), Path("out/a.b.safetensors")]
    assert [names.images, names.preview] == [Path("out/a.b_frames"), Path("out/a.b_preview.png")]


def test_in_a_folder_the_name_is_time_and_seed_and_never_one_that_is_taken(tmp_path: Path):
    options = make_options(WAN22_T2V, {"prompt": "x", "save_path": tmp_path, "seed": 7})
    assert plan_outputs(options, NOON).video == tmp_path / "20260102-123045-7.mp4"
    (tmp_path / "20260102-123045-7.json").touch()
    assert plan_outputs(options, NOON).video == tmp_path / "20260102-123045-7-2.mp4"


def test_a_file_appears_only_when_its_block_ends_well(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"
    with whole_file(path) as part:
        part.write_text("new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"


def test_a_folder_appears_only_when_its_block_ends_well(tmp_path: Path):
    path = tmp_path / "stills"
    with pytest.raises(ValueError, match="no"), whole_folder(path) as part:
        (part / "0.png").touch()
        raise ValueError("no")
    assert not list(tmp_path.iterdir())
    for name in ("0.png", "1.png"):
        with whole_folder(path) as part:
            (part / name).touch()
    assert [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png")] == ["stills/1.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["stills"]
