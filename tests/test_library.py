"""The library's face: what a program does with it, and what it is told when something is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from holocine_ext import Compute, InputError, Output, Plan, Request, Sampling, Session, Storyboard, models
from wan2.events import Failed, Finished, FramesDecoded, Stage, StageBegan, StateSaved, StepTaken
from wan2.run.latents import load_latents

ROOT = Path(__file__).parents[1]
SCENE = Storyboard.of("The scene is a meadow with a tree.", ["Wide shot.", "Close-up."])
STEPS = Sampling(infer_steps=4, flow_shift=5.0, sample_solver="euler")


def plan(path: Path, seed: int = 1, **more: object) -> Plan:
    output = Output(path, output_type="both", save_every=1)
    given = {"size": (32, 32), "num_frames": 9, "sampling": STEPS, **more}
    return Request(SCENE, model=models["nano"]["sparse"], seed=seed, output=output, **given).plan()  # type: ignore[arg-type]


def test_the_example_runs(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "examples/library.py"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*.mp4")} == {"first.mp4", "second.mp4"}
    assert (tmp_path / "third.state.safetensors").is_file()
    assert "step 6 of 6" in done.stdout and "cancelled after step 3" in done.stdout


def test_importing_the_face_loads_nothing_heavy() -> None:
    code = (
        "import sys; from holocine_ext import Compute, Output, Request, Session, Storyboard, models;"
        "print(sorted({'torch', 'diffusers', 'transformers', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_carry_field_value_and_rule(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        plan(tmp_path / "a.mp4", size=(100, 32))
    assert (caught.value.field, caught.value.value) == ("height", 100)
    assert "multiple of 16" in caught.value.rule and "--" not in str(caught.value)


def test_the_printed_plan_is_that_of_a_dry_run(tmp_path: Path) -> None:
    assert "sees text" in str(plan(tmp_path / "a.mp4")) and "sparse self-attention" in str(plan(tmp_path / "a.mp4"))


def test_cancelling_while_denoising_keeps_the_state_and_goes_on_to_the_same_latents(tmp_path: Path) -> None:
    whole, cut = plan(tmp_path / "whole.mp4"), plan(tmp_path / "cut.mp4")
    with Session(whole.model, whole.compute, None) as session:
        assert any(isinstance(event, Finished) for event in session.run(whole))
        events = session.run(cut)
        steps = next(event for event in events if isinstance(event, StepTaken) and event.index == 1)
        events.close()
        assert steps.index == 1 and (tmp_path / "cut.state.safetensors").is_file()
        assert not (tmp_path / "cut.mp4").exists()
        rest = [
            event for event in session.run(plan(tmp_path / "cut.mp4", resume=Path())) if isinstance(event, StepTaken)
        ]
    assert [event.index for event in rest] == [2, 3]
    one, other = (load_latents(tmp_path / f"{name}.safetensors") for name in ("whole", "cut"))
    assert torch.equal(one, other)


def test_cancelling_while_decoding_stops_within_a_latent_frame_and_leaves_no_video(tmp_path: Path) -> None:
    made = plan(tmp_path / "a.mp4")
    with Session(made.model, made.compute, None) as session:
        events = session.run(made)
        first = next(event for event in events if isinstance(event, FramesDecoded))
        events.close()
    assert first.first == 0 and len(first.frames) == 1
    assert not (tmp_path / "a.mp4").exists() and (tmp_path / "a.safetensors").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "a.state.safetensors"}


def test_a_wave_takes_plans_through_the_stages_together_and_keeps_failures_apart(tmp_path: Path) -> None:
    plans = [plan(tmp_path / f"{seed}.mp4", seed) for seed in (1, 2, 3)]
    (tmp_path / "2.mp4").write_text("someone's")  # appears after it was planned
    with Session(plans[0].model, plans[0].compute, None) as session:
        events = list(session.wave(plans))
    assert [event.plan for event in events if isinstance(event, Failed)] == [1]
    assert [event.plan for event in events if isinstance(event, Finished)] == [0, 2]
    assert (tmp_path / "2.mp4").read_text() == "someone's"
    denoised = [event.plan for event in events if isinstance(event, StageBegan) and event.stage is Stage.DENOISE]
    assert denoised == [0, 2, 0, 2]
    assert {event.plan for event in events if isinstance(event, StateSaved)} == {0, 2}


def test_a_session_refuses_the_plan_of_another(tmp_path: Path) -> None:
    made = plan(tmp_path / "a.mp4")
    with Session(made.model, Compute(dtype="bfloat16"), None) as session, pytest.raises(ValueError, match="computes"):
        list(session.run(made))
