"""Many videos of one list: a broken one costs no other, and the list goes on where it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

import holocine_ext.cli
import wan2.cli.main
import wan2.run.decode
import wan2.run.wave
from tests.tiny import QUICK, TinyModel, impatient
from wan2.run.video_io import read_video

ROOT = Path(__file__).parents[1]
MAIN = {"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}
BOARD = {"global_caption": "A lighthouse.", "shots": [{"caption": "The tower"}, {"caption": "The sea"}]}

List = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def make(tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> List:
    """Makes a list of lines into `tmp_path / folder`: exit code and what was said."""

    def make(program: str, lines: list[str], *words: str, folder: str = "out") -> tuple[int, list[str]]:
        (tmp_path / "list.txt").write_text("\n".join(lines))
        ready = [*tiny.flags(), *QUICK, "--output_type", "both", "--save_path", str(tmp_path / folder / "a.mp4")]
        capsys.readouterr()
        code = MAIN[program]([*ready, "--from_file", str(tmp_path / "list.txt"), *words])
        return code, capsys.readouterr().err.splitlines()

    return make


def made(folder: Path) -> dict[str, int]:
    """The videos in a folder, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.mp4")}


def boards(folder: Path, *names: str) -> list[str]:
    """Storyboards, one of which does not parse if it is called so; the lines that name them."""
    for name in names:
        (folder / f"{name}.json").write_text("{" if name == "broken" else json.dumps({**BOARD, "seed": len(name)}))
    return [f"{name}.json" for name in names]


def test_the_shards_of_a_list_are_the_list(make: List, tmp_path: Path):
    lines = [f"a gull --d {seed}" for seed in range(5)]
    assert make("wan2", lines)[0] == 0
    for number in (2, 1):
        assert make("wan2", lines, "--shard", f"{number}/2", folder="shards")[0] == 0
        assert len(made(tmp_path / "shards")) == (2 if number == 2 else 5)
    for name in made(tmp_path / "out"):
        latents = [load_file(tmp_path / folder / name.replace("mp4", "safetensors")) for folder in ("out", "shards")]
        assert torch.equal(latents[0]["latents"], latents[1]["latents"])


def test_a_broken_scene_is_passed_over_and_made_later(make: List, tmp_path: Path):
    lines = ["# three scenes", *boards(tmp_path, "one", "broken", "three")]
    code, said = make("holocine", lines)
    assert code == 1
    place = f"--from_file {tmp_path / 'list.txt'}:3"
    assert said[0].startswith(f"holocine_generate_video: warning: {place}: {tmp_path / 'broken.json'}: Expecting")
    last, how = said[-1].split("; to go on: ")
    assert last == f"holocine_generate_video: 1 of 3 videos failed: {tmp_path / 'list.txt'}, line 3"
    assert how.endswith(" --resume")
    before = made(tmp_path / "out")
    assert before.keys() == {"a-002.mp4", "a-004.mp4"}
    (tmp_path / "broken.json").write_text(json.dumps(BOARD))
    code, said = make("holocine", lines, "--resume")
    assert (code, said[0]) == (0, "holocine_generate_video: warning: 2 of 3 videos are there already")
    after = made(tmp_path / "out")
    assert after.keys() == {*before, "a-003.mp4"}
    assert {name: after[name] for name in before} == before


def test_one_that_fails_while_it_runs_costs_no_other(make: List, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lines = ["a gull", "a cat", "a dog"]
    assert make("wan2", lines, folder="whole")[0] == 0
    blocked = tmp_path / "out/a-002.json"

    class Blocking(wan2.cli.main.Console):
        def stage(self, name: str, total: int = 1) -> None:
            super().stage(name, total)
            if name == "list.txt:2: Denoising":
                blocked.mkdir(exist_ok=True)

    with monkeypatch.context() as patch:
        patch.setattr(wan2.cli.main, "Console", Blocking)
        code, said = make("wan2", lines)
    assert code == 1
    assert any(f"--from_file {tmp_path / 'list.txt'}:2: [Errno 17] has appeared" in line for line in said)
    assert f"1 of 3 videos failed: {tmp_path / 'list.txt'}, line 2; to go on: " in said[-1]
    assert (tmp_path / "out/a-002.state.safetensors").exists()
    blocked.rmdir()
    assert make("wan2", lines, "--resume")[0] == 0
    assert_same(tmp_path / "out", tmp_path / "whole", 3)


@pytest.mark.parametrize(
    ("module", "name"), [(wan2.run.wave, "noise_of"), (wan2.run.decode, "save_latents")], ids=["early", "late"]
)
def test_a_bug_in_one_shows_its_traceback_and_costs_no_other(
    make: List, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
):
    sound, calls = getattr(module, name), count()

    def buggy(*given: object) -> object:
        if not next(calls):
            raise RuntimeError("a bug")
        return sound(*given)

    monkeypatch.setattr(module, name, buggy)
    code, said = make("wan2", ["a gull", "a cat"])
    assert code == 1
    assert "Traceback (most recent call last):" in said
    assert f"wan2_generate_video: --from_file {tmp_path / 'list.txt'}:1: RuntimeError: a bug" in said
    assert made(tmp_path / "out").keys() == {"a-002.mp4"}


# Three videos take two steps each, then nine frames each: after the first step of all, at the last step of the second
# expert, while the first is decoded, while the second is.
@pytest.mark.parametrize(
    ("program", "step", "states"), [("wan2", 1, 1), ("wan2", 5, 3), ("holocine", 13, 3), ("wan2", 19, 2)]
)
def test_an_interrupted_list_goes_on_bit_for_bit(
    make: List, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, step: int, states: int
):
    names = ("one", "three", "fifteen")
    lines = boards(tmp_path, *names) if program == "holocine" else list(names)
    assert make(program, lines, folder="whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(wan2.cli.main, "Console", impatient(step))
        code, said = make(program, lines)
    assert code == 130
    assert said[-1].endswith(f"--from_file {tmp_path / 'list.txt'} --resume")
    before = made(tmp_path / "out")
    assert len(before) == max(0, step - 6) // 9
    assert len(list((tmp_path / "out").glob("*.state.safetensors"))) == states
    assert make(program, lines, "--resume")[0] == 0
    assert {name: made(tmp_path / "out")[name] for name in before} == before
    assert_same(tmp_path / "out", tmp_path / "whole", 3)


@pytest.mark.parametrize("words", [[], ["--blocks_to_swap", "2", "--sample_solver", "dpm++", "--step_cache", "0.3"]])
def test_how_many_go_together_changes_no_bit(make: List, tmp_path: Path, words: list[str]):
    lines = ["a gull", "a cat --s 4", "a dog --f 13"]
    for wave in ("1", "2", "3"):
        assert make("wan2", lines, *words, "--wave", wave, folder=wave)[0] == 0
    assert_same(tmp_path / "1", tmp_path / "2", 3)
    assert_same(tmp_path / "1", tmp_path / "3", 3)


def assert_same(one: Path, other: Path, videos: int) -> None:
    """The same files, latents and frames."""
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for number in range(1, videos + 1):
        first, second = (load_file(folder / f"a-{number:03d}.safetensors")["latents"] for folder in (one, other))
        assert torch.equal(first, second)
        frames = [read_video(folder / f"a-{number:03d}.mp4") for folder in (one, other)]
        assert (frames[0] == frames[1]).all()


def test_a_drawn_seed_makes_a_finished_video_no_other(make: List, tiny: TinyModel, tmp_path: Path):
    lines = ["a gull", "a cat"]
    seedless = [word for word in QUICK if word not in ("--seed", "7")]
    words = [*tiny.flags(), *seedless, "--from_file", str(tmp_path / "list.txt"), "--save_path", str(tmp_path / "out")]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    assert wan2.cli.main.main(words) == 0
    before = made(tmp_path / "out")
    assert before.keys() == {"list-001.mp4", "list-002.mp4"}
    (tmp_path / "out/list-002.mp4").unlink()
    assert wan2.cli.main.main([*words, "--resume"]) == 0
    assert made(tmp_path / "out")["list-001.mp4"] == before["list-001.mp4"]
    assert make("wan2", lines)[0] == 0


def test_a_list_that_changed_takes_no_video_for_another(make: List, tmp_path: Path):
    assert make("wan2", ["a gull", "a cat --s 1"])[0] == 0
    before = made(tmp_path / "out")
    code, said = make("wan2", ["a crow", "a cat --s 1", "a dog"], "--resume")
    assert code == 1
    place, video = f"--from_file {tmp_path / 'list.txt'}:1", tmp_path / "out/a-001.mp4"
    assert said[0].endswith(
        f"warning: {place}: --resume: {video} is there already, made with --prompt a gull, not a crow; passed over"
    )
    after = made(tmp_path / "out")
    assert after.keys() == {*before, "a-003.mp4"}
    assert {name: after[name] for name in before} == before


def test_a_list_is_not_begun_anew_by_accident(make: List, tmp_path: Path):
    assert make("wan2", ["a gull", "a cat"])[0] == 0
    before = made(tmp_path / "out")
    code, said = make("wan2", ["a gull", "a cat"])
    assert code == 2
    assert "a-001.mp4 is there from an earlier run; go on with that by --resume, replace it" in said[0]
    assert made(tmp_path / "out") == before


def test_a_list_of_which_nothing_will_do_is_bad_input(make: List, tmp_path: Path):
    code, said = make("wan2", ["a gull --q 3", "a cat --w 33"])
    assert (code, len(said)) == (2, 1)
    assert f"{tmp_path / 'list.txt'}:1 --q: not a setting of a line" in said[0]
    assert said[0].endswith("(none of the other 1 lines will do either)")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_shows_what_can_be_made_and_names_the_rest(
    make: List, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lines = boards(tmp_path, "one", "broken", "three")
    code, said = make("holocine", lines, "--dry_run")
    assert code == 2
    assert "list.txt:2: " in said[0]
    assert said[1] == "holocine_generate_video: 1 of 3 lines cannot be made"
    assert not capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("line", ["../outside.json", "{here}/../outside.json", "link.json"])
def test_a_line_reaches_no_file_outside_the_folder_of_its_list(make: List, tmp_path: Path, line: str):
    (tmp_path.parent / "outside.json").write_text(json.dumps(BOARD))
    (tmp_path / "link.json").symlink_to(tmp_path.parent / "outside.json")
    code, said = make("holocine", [line.format(here=tmp_path)])
    assert code == 2
    assert said[0].endswith("leaves the folder of the file")


def test_a_reader_that_stops_reading_stops_no_list(tiny: TinyModel, tmp_path: Path):
    (tmp_path / "list.txt").write_text("a gull\na cat\n")
    words = [*tiny.flags(), *QUICK, "--from_file", str(tmp_path / "list.txt"), "--save_path", str(tmp_path / "a.mp4")]
    script = [sys.executable, str(ROOT / "wan2_generate_video.py"), *words]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 0
    assert made(tmp_path).keys() == {"a-001.mp4", "a-002.mp4"}
