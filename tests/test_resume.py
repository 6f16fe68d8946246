"""Runs that end early and go on: to the same latents bit for bit, or to a refusal that names the difference."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import holocine_ext.cli
import wan2.cli.main
from tests.tiny import QUICK, TinyModel, impatient
from wan2.plan.saved import FEWER_OPTIONS
from wan2.run.video_io import read_video
from wan2.sampling.solvers import SOLVERS
from wan2.weights.header import read_header

ROOT = Path(__file__).parents[1]
MAIN = {"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}
# Two steps of each expert.
STEPS = ["--infer_steps", "4", "--flow_shift", "5", "--video_length", "9"]
PROMPT = ["--prompt", "a gull"]
SHOTS = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "--shot_cut_frames", "5"]

Run = Callable[..., int]


@pytest.fixture
def run(tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line into `tmp_path`; `stop` raises Ctrl-C after so many steps of anything."""

    def run(program: str, *words: str, name: str = "a", stop: int = 10**6, variant: str = "full") -> int:
        monkeypatch.setattr(wan2.cli.main, "Console", impatient(stop))
        ready = [*tiny.flags(variant), *QUICK, *STEPS] + (["--variant", variant] if program == "holocine" else [])
        return MAIN[program]([*ready, "--output_type", "both", "--save_path", str(tmp_path / f"{name}.mp4"), *words])

    return run


def state_of(folder: Path, name: str = "a") -> Path:
    return folder / f"{name}.state.safetensors"


def assert_same(folder: Path, one: str = "a", other: str = "b") -> None:
    first, second = (load_file(folder / f"{name}.safetensors")["latents"] for name in (one, other))
    assert torch.equal(first, second)
    assert (read_video(folder / f"{one}.mp4") == read_video(folder / f"{other}.mp4")).all()


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("solver", "stop"),
    [*((solver, stop) for solver in SOLVERS for stop in (2, 3)), ("unipc", 1), ("dpm++", 6)],
)
def test_a_run_goes_on_to_the_same_latents_from_every_step(run: Run, tmp_path: Path, solver: str, stop: int):
    words = (*PROMPT, "--sample_solver", solver)
    assert run("wan2", *words, name="b") == 0
    assert run("wan2", *words, stop=stop) == 130
    if stop < 5:  # at 6 it is the decoder that was interrupted, the latents being ready
        assert files_in(tmp_path) == {"a.state.safetensors", "b.mp4", "b.safetensors", "b.json"}
    assert wan2.cli.main.main(["--resume", str(state_of(tmp_path))]) == 0
    assert_same(tmp_path)
    assert files_in(tmp_path) == {f"{name}.{ending}" for name in "ab" for ending in ("mp4", "safetensors", "json")}


@pytest.mark.parametrize(("variant", "stop"), [("full", 3), ("sparse", 1), ("sparse", 7)])
def test_the_extension_goes_on_with_its_storyboard(run: Run, tmp_path: Path, variant: str, stop: int):
    board = {
        "global_caption": "A [keeper] tends a lighthouse.",
        "characters": {"keeper": "An old man"},
        "shots": [{"caption": "The [keeper] sleeps", "frames": 5}, {"caption": "The sea"}],
    }
    scene = tmp_path / "scene.json"
    scene.write_text(json.dumps(board))
    words = ("--storyboard", str(scene), "--export_shots")
    assert run("holocine", *words, name="b", variant=variant) == 0
    assert run("holocine", *words, stop=stop, variant=variant) == 130
    scene.unlink()
    assert holocine_ext.cli.main(["--resume", str(state_of(tmp_path))]) == 0
    assert_same(tmp_path)
    assert_same(tmp_path, "a", "b")
    endings = (".mp4", ".safetensors", ".json", "_shot01.mp4", "_shot02.mp4", "_sheet.png")
    assert files_in(tmp_path) == {f"{name}{ending}" for name in "ab" for ending in endings}
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    for name in ("title", "captions", "cuts", "storyboard", "variant", "export_shots"):
        assert first[name] == second[name]


@pytest.mark.parametrize("words", [PROMPT, SHOTS, ["--prompt", "[global caption] A [per shot caption] B [shot cut] C"]])
def test_a_scene_of_the_command_line_goes_on_too(run: Run, tmp_path: Path, words: list[str]):
    assert run("holocine", *words, "--no_contact_sheet", name="b") == 0
    assert run("holocine", *words, "--no_contact_sheet", stop=3) == 130
    assert holocine_ext.cli.main(["--resume", str(state_of(tmp_path))]) == 0
    assert_same(tmp_path)
    assert "a_sheet.png" not in files_in(tmp_path)


def test_the_same_command_line_with_resume_begins_goes_on_and_is_done(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = (*PROMPT, "--resume")
    assert run("wan2", *PROMPT, name="b") == 0
    assert run("wan2", *words, stop=2) == 130
    assert run("wan2", *words) == 0
    assert_same(tmp_path)
    made = (tmp_path / "a.mp4").stat().st_mtime_ns
    capsys.readouterr()
    assert run("wan2", *words) == 0
    assert "a.mp4: is there already" in capsys.readouterr().err
    assert (tmp_path / "a.mp4").stat().st_mtime_ns == made


def test_a_drawn_seed_is_the_states(tiny: TinyModel, run: Run, tmp_path: Path):
    assert run("wan2", *PROMPT, "--seed", "11", stop=2) == 130
    words = [*tiny.flags(), "--video_size", "32", "32", "--device", "cpu", *STEPS, *PROMPT]
    assert wan2.cli.main.main([*words, "--output_type", "both", "--resume", str(state_of(tmp_path))]) == 0
    assert run("wan2", *PROMPT, "--seed", "11", name="b") == 0
    assert_same(tmp_path)


def test_what_changes_no_latents_may_change(run: Run, tmp_path: Path):
    assert run("wan2", *PROMPT, name="b", stop=3) == 130
    other = tmp_path / "other"
    words = ["--resume", str(state_of(tmp_path, "b")), "--save_path", str(other / "c.mp4"), "--fps", "8"]
    assert wan2.cli.main.main([*words, "--no_metadata", "--save_every", "1"]) == 0
    assert files_in(other) == {"c.mp4", "c.safetensors"}
    assert files_in(tmp_path) == {"other"}


def test_the_line_that_is_printed_goes_on(tiny: TinyModel, tmp_path: Path):
    folder = tmp_path / "a folder"
    words = [*tiny.flags(), *QUICK, *STEPS, *PROMPT, "--save_path", str(folder / "a.mp4"), "--save_every", "1"]
    script = [sys.executable, str(ROOT / "wan2_generate_video.py")]
    process = subprocess.Popen([*script, *words, "--infer_steps", "400"], stderr=subprocess.PIPE, text=True)
    wait_for(state_of(folder))
    process.send_signal(signal.SIGINT)
    last = process.communicate(timeout=300)[1].splitlines()[-1]
    assert process.returncode == 130
    said, line = last.split("; to go on: ")
    assert said == "wan2_generate_video: interrupted"
    assert shlex.split(line) == [*script, "--resume", str(state_of(folder))]
    state = json.loads(read_header(state_of(folder)).metadata["state"])
    assert 0 <= state["step"] < 399


def wait_for(path: Path) -> None:
    for _ in range(6000):
        if path.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(path)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGUSR1], 138),
        ([signal.SIGXCPU], 152),
        ([signal.SIGINT] * 5, 130),
        ([signal.SIGINT, signal.SIGTERM, signal.SIGINT], None),
    ],
)
def test_signals_save_the_last_step(tiny: TinyModel, tmp_path: Path, sent: list[signal.Signals], code: int):
    words = [*tiny.flags(), *QUICK, *PROMPT, "--infer_steps", "600", "--save_path", str(tmp_path / "a.mp4")]
    script = [sys.executable, str(ROOT / "wan2_generate_video.py")]
    process = subprocess.Popen([*script, *words, "--save_every", "3"], stderr=subprocess.PIPE, text=True)
    wait_for(state_of(tmp_path))
    for number in sent:
        process.send_signal(number)
    error = process.communicate(timeout=300)[1]
    assert process.returncode in ((code,) if code else (130, 143))
    assert "Traceback" not in error
    assert "; to go on: " in error.splitlines()[-1]
    assert files_in(tmp_path) == {"a.state.safetensors"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prompt", "a crow"], "was saved with --prompt a gull, not a crow"),
        (["--seed", "8"], "was saved with --seed 7, not 8"),
        (["--sample_solver", "euler"], "was saved with --sample_solver unipc, not euler"),
        (["--guidance_scale", "2"], "was saved with --guidance_scale"),
        (["--infer_steps", "5"], "was saved with --infer_steps 4, not 5"),
        (["--video_length", "13"], "was saved with --video_length 9, not 13"),
        (["--dtype", "bfloat16"], "was saved with --dtype auto, not bfloat16"),
        (["--dit_low_noise", "{other}"], "was saved with another --dit_low_noise, of fingerprint"),
    ],
)
def test_a_state_of_another_run_is_refused_with_the_difference(
    run: Run, tiny: TinyModel, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    assert run("wan2", *PROMPT, stop=2) == 130
    tensors = load_file(tiny.expert("low"))
    tensors["head.head.bias"] += 1
    save_file(tensors, tmp_path / "other.safetensors", {"num_heads": "4"})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    given = [word.format(other=tmp_path / "other.safetensors") for word in words]
    if "--prompt" not in given:  # which would be a scene of its own, without the files of the state
        assert wan2.cli.main.main(["--resume", str(state_of(tmp_path)), *given]) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]
    capsys.readouterr()
    assert run("wan2", "--resume", *(given if "--prompt" in given else [*PROMPT, *given])) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("versions", {"torch": "1.0"}, "was saved with torch 1.0, not "),
        ("machine", {"device": "cuda (a card)", "dtype": "float32"}, "was saved with device cuda (a card), not cpu"),
        ("text", "another", "was saved with prompts encoded as another, not "),
        ("format", 99, "was saved by another version of this program"),
        ("scene", {"title": "A storm"}, "was saved by another program"),
        ("step", 4, "its step 5 is none of 4"),
        ("step", -1, "its field step does not hold what it should"),
        ("step", 0, "does not hold the tensors of the solver"),
        ("options", {}, "its step 2 is none of None"),
        ("options", [], "its field options does not hold what it should"),
    ],
)
def test_a_state_of_another_world_is_refused(
    run: Run, tmp_path: Path, field: str, value: object, said: str, capsys: pytest.CaptureFixture[str]
):
    assert run("wan2", *PROMPT, stop=2) == 130
    rewrite(state_of(tmp_path), lambda state: state | {field: (state[field] | value) if field == "versions" else value})
    before = state_of(tmp_path).read_bytes()
    assert wan2.cli.main.main(["--resume", str(state_of(tmp_path))]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert state_of(tmp_path).read_bytes() == before
    assert files_in(tmp_path) == {state_of(tmp_path).name}


def test_a_state_of_a_version_with_fewer_options_goes_on(run: Run, tmp_path: Path):
    assert run("wan2", *PROMPT, name="b") == 0
    assert run("wan2", *PROMPT, stop=2) == 130
    later = ("fused", "hold_noise", "lora_mode", "lora_partial", "no_latents")

    def older(state: dict) -> dict:
        options = {name: value for name, value in state["options"].items() if name not in later}
        assert len(options) == len(state["options"]) - len(later)
        return state | {"format": FEWER_OPTIONS, "options": options}

    rewrite(state_of(tmp_path), older)
    assert wan2.cli.main.main(["--resume", str(state_of(tmp_path))]) == 0
    assert_same(tmp_path)


def rewrite(path: Path, change: Callable[[dict], dict]) -> None:
    """Change what a state says, not its tensors."""
    metadata = read_header(path).metadata
    state = change(json.loads(metadata["state"]))
    save_file(load_file(path), path, {**metadata, "state": json.dumps(state)})


def test_the_programs_do_not_go_on_with_each_others_runs(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("wan2", *PROMPT, stop=2) == 130
    assert run("holocine", *PROMPT, stop=2, name="b") == 130
    assert holocine_ext.cli.main(["--resume", str(state_of(tmp_path))]) == 2
    assert wan2.cli.main.main(["--resume", str(state_of(tmp_path, "b"))]) == 2
    for line in [
        line for line in capsys.readouterr().err.splitlines() if "--resume" in line and "to go on" not in line
    ]:
        assert line.endswith("was saved by another program, which alone can go on with it")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shot_cut_frames", "9", "--video_length", "13"], "was saved with --video_length 9, not 13"),
        (["--shot_captions", "The lamp"], "was saved with --prompt"),
        (["--variant", "sparse"], "was saved with --variant full, not sparse"),
    ],
)
def test_a_state_of_another_scene_is_refused(run: Run, words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert run("holocine", *SHOTS, stop=2) == 130
    given = [word for word in SHOTS if word not in ("--shot_cut_frames", "5")] if "--shot_captions" in words else SHOTS
    assert run("holocine", *given, "--resume", *words) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_other_cuts_alone_are_refused(run: Run, capsys: pytest.CaptureFixture[str]):
    longer = ("--video_length", "13")
    assert run("holocine", *SHOTS, *longer, stop=2) == 130
    assert run("holocine", *SHOTS[:-1], "9", *longer, "--resume") == 2
    assert "was saved with cuts at frames [5], not [9]" in capsys.readouterr().err.splitlines()[-1]


def test_an_unfinished_run_is_not_begun_anew_by_accident(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("wan2", *PROMPT, stop=2) == 130
    before = state_of(tmp_path).read_bytes()
    assert run("wan2", *PROMPT) == 2
    assert "an unfinished run of this name is saved as" in capsys.readouterr().err.splitlines()[-1]
    assert state_of(tmp_path).read_bytes() == before


def test_latents_of_a_run_that_only_lacks_its_video_decode(run: Run, tiny: TinyModel, tmp_path: Path):
    assert run("wan2", *PROMPT, name="b") == 0
    assert run("wan2", *PROMPT, stop=6) == 130
    words = ["--vae", str(tiny.vae), "--device", "cpu", "--save_path", str(tmp_path / "c.mp4")]
    assert wan2.cli.main.main(["--latent_path", str(state_of(tmp_path)), *words]) == 0
    assert (read_video(tmp_path / "c.mp4") == read_video(tmp_path / "b.mp4")).all()


def test_latents_of_an_unfinished_run_do_not(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("wan2", *PROMPT, stop=2) == 130
    assert wan2.cli.main.main(["--latent_path", str(state_of(tmp_path))]) == 2
    assert "unfinished run (step 2 of 4); give it to --resume" in capsys.readouterr().err.splitlines()[-1]


def test_a_truncated_state_is_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("wan2", *PROMPT, stop=2) == 130
    state = state_of(tmp_path)
    state.write_bytes(state.read_bytes()[:-1])
    assert wan2.cli.main.main(["--resume", str(state)]) == 2
    assert "is truncated" in capsys.readouterr().err.splitlines()[-1]


def test_values_that_are_not_finite_keep_the_last_good_step(
    run: Run, tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tensors = load_file(tiny.expert("low"))
    tensors["head.head.bias"].fill_(float("nan"))
    broken = tmp_path / "nan.safetensors"
    save_file(tensors, broken, {"num_heads": "4"})
    assert run("wan2", *PROMPT, "--dit_low_noise", str(broken)) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "step 3 of 4 (low-noise expert) gave values that are not finite" in line
    assert "; to go on: " in line
    assert json.loads(read_header(state_of(tmp_path)).metadata["state"])["step"] == 1
