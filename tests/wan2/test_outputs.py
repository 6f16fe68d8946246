"""The names of a run, settled before it begins and held against what it reads and what stands there."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

import wan2.cli.main
from tests.refused import refused
from wan2.errors import RunError
from wan2.files import work_folder
from wan2.plan.files import Files
from wan2.plan.outputs import OutputPaths, Target, named_outputs, names_in_folder, targets
from wan2.plan.plan import Extension, Plan
from wan2.plan.taken import TakenError, check_names, check_outputs
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.request.request import Request
from wan2.run.claim import claimed


def options_for(path: Path, **more: object) -> Request:
    return make_request(WAN22_T2V, {"prompt": "x", "save_path": path, "seed": 7, **more})


def plan_for(path: Path) -> Plan:
    return Plan(options_for(path), Extension(), Files(), {})


def test_a_file_name_is_kept_and_its_companions_have_its_stem():
    names = named_outputs(Path("out/a.b.mp4"))
    assert names is not None
    assert names.video == Path("out/a.b.mp4")
    assert [(n := named_outputs(Path(f"a{end}"))) and n.video for end in (".mov", ".mkv", ".avi")] == [
        Path("a.mov"),
        Path("a.mkv"),
        None,
    ]
    assert [names.record, names.latents] == [Path("out/a.b.json"), Path("out/a.b.safetensors")]
    assert [names.images, names.preview] == [Path("out/a.b_frames"), Path("out/a.b_preview.png")]


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ({}, ["video", "latents", "record", "state"]),
        ({"no_metadata": True, "no_latents": True, "preview": 1}, ["video", "preview", "state"]),
        ({"output_type": "both"}, ["video", "latents", "record", "state"]),
        ({"output_type": "images"}, ["folder of frames", "latents", "record", "state"]),
        ({"latent_path": Path("b.safetensors")}, ["video", "record"]),
    ],
)
def test_everything_a_run_may_write_is_listed(more: dict[str, object], kinds: list[str]):
    paths = OutputPaths(Path("out"), "a")
    assert [target.what for target in targets(options_for(Path("out/a.mp4"), **more), paths)] == kinds


def test_in_a_folder_names_of_one_second_and_seed_differ(tmp_path: Path):
    plan = plan_for(tmp_path)
    with claimed(plan) as one, claimed(plan) as two, claimed(plan) as three:
        names = [claim.paths.name for claim in (one, two, three)]
        assert len(set(names)) == 3
        with one.whole(one.paths.video) as part:
            part.touch()
    assert [path.name for path in tmp_path.iterdir()] == [one.paths.video.name]
    now = datetime(2026, 1, 2, 12, 30, 45)
    asked = options_for(Path("out"))
    assert names_in_folder(asked, now) == OutputPaths(Path("out"), "20260102-123045-7")
    named = names_in_folder(asked.putting(stem="night", codec="prores"), now)
    assert named.video == Path("out/night-20260102-123045-7.mov")


def test_a_name_has_one_owner_and_leaves_nothing(tmp_path: Path):
    plan = plan_for(tmp_path / "new" / "a.mp4")
    with claimed(plan), pytest.raises(RunError, match="another process is making it now"), claimed(plan):
        pytest.fail("came in")
    assert not list(tmp_path.iterdir())


def test_only_listed_paths_are_written_and_nothing_that_appeared_is_replaced(tmp_path: Path):
    with claimed(plan_for(tmp_path / "a.mp4")) as claim:
        with pytest.raises(ValueError, match="none of the files"), claim.whole(tmp_path / "b.mp4"):
            pytest.fail("came in")
        for text in ("one", "two"):
            with claim.whole(claim.paths.state) as part:
                part.write_text(text)
        (tmp_path / "a.json").write_text("mine")
        with pytest.raises(OSError, match="has appeared"), claim.whole(claim.paths.record) as part:
            part.write_text("{}")
    assert claim.paths.state.read_text() == "two"
    assert (tmp_path / "a.json").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("how", ["itself", "link", "hard link", "other spelling", "link of a folder"])
def test_no_output_is_an_input(tmp_path: Path, how: str):
    read, written = tmp_path / "in" / "board.json", tmp_path / "out" / "a.json"
    read.parent.mkdir()
    read.write_text("{}")
    written.parent.mkdir()
    save_path = tmp_path / "out" / "a.mp4"
    if how == "itself":
        save_path = tmp_path / "in" / "board.mp4"
    elif how == "link":
        written.symlink_to(read)
    elif how == "hard link":
        os.link(read, written)
    elif how == "other spelling":
        save_path = tmp_path / "out" / ".." / "in" / "board.mp4"
    else:
        (tmp_path / "way").symlink_to(tmp_path / "in")
        save_path = tmp_path / "way" / "board.mp4"
    with refused("its record would be .*, which is --storyboard", TakenError):
        check_outputs(options_for(save_path), {"storyboard": [read]}, replace=True)
    assert read.read_text() == "{}"


@pytest.mark.parametrize("ending", [".json", ".state.safetensors", "_sheet.png"])
@pytest.mark.parametrize("kind", ["text", "folder", "link", "dangling link"])
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, ending: str, kind: str):
    path = tmp_path / f"a{ending}"
    if kind == "text":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        (tmp_path / "real").touch()
        path.symlink_to(tmp_path / ("real" if kind == "link" else "nowhere"))

    def sheet(paths: OutputPaths) -> list[Target]:
        return [Target("sheet", paths.beside("_sheet.png"), Path.is_dir if kind != "folder" else Path.is_file)]

    for replace in (False, True):
        with pytest.raises(TakenError, match="remove or rename it"):
            check_outputs(options_for(tmp_path / "a.mp4"), {}, sheet, replace=replace)


def test_a_work_folder_that_is_not_ours_is_refused(tmp_path: Path):
    work = work_folder(tmp_path / "a")
    work.mkdir()
    (work / "notes").touch()
    with refused("is in the way"):
        check_outputs(options_for(tmp_path / "a.mp4"), {}, replace=True)
    shutil.rmtree(work)
    check_outputs(options_for(tmp_path / "a.mp4"), {}, replace=True)


@pytest.mark.parametrize("letter", ["a", "é", "夜", "🎬"])
def test_names_are_measured_in_bytes(tmp_path: Path, letter: str):
    most, ending = os.pathconf(tmp_path, "PC_NAME_MAX"), len(".state.safetensors")
    fits = (most - ending) // len(letter.encode())
    with claimed(plan_for(tmp_path / f"{letter * fits}.mp4")) as claim:
        for target in claim.targets:
            with claim.whole(target.path) as part:
                part.touch()
    assert len(list(tmp_path.iterdir())) == 4
    with refused("is too long by [1-4] bytes"):
        check_names(options_for(tmp_path / f"{letter * (fits + 1)}.mp4"))


def test_a_whole_path_is_measured_too(tmp_path: Path):
    most = os.pathconf(tmp_path, "PC_PATH_MAX")
    deep = tmp_path
    while (left := most - 20 - len(str(deep))) > 1:
        deep = deep / ("d" * min(200, left - 1))
    with refused("is too long by"):
        check_names(options_for(deep / "a.mp4"))
    with refused("is too long by"):
        check_names(options_for(deep / "folder"))


@pytest.mark.parametrize("name", ["a\nb.mp4", "a\x1b[2J.mp4", "\x00.mp4", "a\x85.mp4", os.fsdecode(b"a\xff.mp4")])
def test_names_that_are_no_text_are_refused(tmp_path: Path, name: str):
    with refused("control character|UTF-8"):
        check_names(options_for(tmp_path / name))


def test_the_name_of_a_state_is_reserved(tmp_path: Path):
    with refused("that of a state"):
        check_names(options_for(tmp_path / "x.state.mp4", output_type="both"))


@pytest.mark.parametrize("name", ["loop", "loop/x.mp4", "nowhere/x.mp4", "nowhere"])
def test_a_folder_that_leads_nowhere_is_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert wan2.cli.main.main(["--prompt", "x", "--save_path", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--save_path" in said and "leads nowhere" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "nowhere"]
