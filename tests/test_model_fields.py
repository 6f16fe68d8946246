"""How a model was run where it was published: the base and HoloCine by the same command lines; states of before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import holocine_ext.cli
import wan2.cli.main
import wan2.models.vae
from holocine_ext.presets import MODELS
from tests.tiny import QUICK, TinyModel, impatient
from wan2.models.transformer import WanTransformer
from wan2.request.presets import WAN22_T2V
from wan2.sampling.schedule import timesteps
from wan2.sampling.solvers import MULTISTEP, SOLVERS
from wan2.weights.header import read_header

MAIN = {"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}
STEPS = ["--prompt", "a gull", "--infer_steps", "4", "--flow_shift", "5", "--video_length", "5"]
# What format 3 added to the options of a state.
ADDED = ("round_timestep", "vae_dtype")

Run = Callable[..., int]


@pytest.fixture
def run(tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line into `tmp_path`; `stop` raises Ctrl-C after so many steps of anything."""

    def run(program: str, *words: str, name: str = "a", stop: int = 10**6) -> int:
        monkeypatch.setattr(wan2.cli.main, "Console", impatient(stop))
        ready = [*tiny.flags(), *QUICK, *STEPS, "--output_type", "both"]
        return MAIN[program]([*ready, "--save_path", str(tmp_path / f"{name}.mp4"), *words])

    return run


def make_older(path: Path) -> None:
    """Turn a state into one of format 2."""
    metadata = read_header(path).metadata
    state = json.loads(metadata["state"])
    state["format"] = 2
    for name in ADDED:
        del state["options"][name]
    save_file(load_file(path), path, {**metadata, "state": json.dumps(state)})


def test_every_model_says_how_it_was_run() -> None:
    fields = {
        preset.name: (preset.model.round_timestep, preset.model.vae_dtype) for preset in [WAN22_T2V, *_holocines()]
    }
    assert fields == {"wan2.2-t2v": (False, "float32"), "holocine": (True, "auto"), "nano": (True, "auto")}


def _holocines() -> list:
    return [preset for variants in MODELS.values() for preset in variants.values()]


@pytest.mark.parametrize("program", MAIN)
def test_the_timesteps_of_the_base_are_embedded_as_they_are_and_holocines_rounded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    given: list[float] = []
    embed_time = WanTransformer.embed_time

    def noted(self: WanTransformer, timestep: Tensor) -> tuple[Tensor, Tensor]:
        given.append(timestep.item())
        return embed_time(self, timestep)

    monkeypatch.setattr(WanTransformer, "embed_time", noted)
    assert run(program, "--dtype", "bfloat16", "--sample_solver", "unipc", "--output_type", "latent",
               "--save_path", str(tmp_path / "a.safetensors")) == 0  # fmt: skip
    whole = timesteps(4, 5.0, "unipc")
    rounded = tuple(torch.tensor(whole).bfloat16().tolist())
    assert set(given) == set(whole if program == "wan2" else rounded) and rounded != whole
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["timesteps"] == list(whole)
    assert record["options"]["round_timestep"] == (program == "holocine")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("program", MAIN)
def test_the_vae_of_the_base_computes_in_fp32_and_holocines_in_the_compute_dtype(
    run: Run, monkeypatch: pytest.MonkeyPatch, program: str, dtype: str
) -> None:
    used: set[torch.dtype] = set()
    decode = wan2.models.vae.WanVAE._decoded

    def noted(self: wan2.models.vae.WanVAE, latents: Tensor):  # noqa: ANN202
        used.add(self.dtype)
        return decode(self, latents)

    monkeypatch.setattr(wan2.models.vae.WanVAE, "_decoded", noted)
    assert run(program, "--dtype", dtype) == 0
    assert used == {torch.float32 if program == "wan2" else getattr(torch, dtype)}


@pytest.mark.parametrize("program", MAIN)
@pytest.mark.parametrize("solver", MULTISTEP)
def test_a_state_of_the_old_schedule_is_refused_by_name(
    run: Run, tmp_path: Path, program: str, solver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(program, "--sample_solver", solver, stop=2) == 130
    state = tmp_path / "a.state.safetensors"
    make_older(state)
    before = state.read_bytes()
    capsys.readouterr()
    assert MAIN[program](["--resume", str(state)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"--sample_solver {solver} had other noise levels" in line and "has changed" in line
    assert run(program, "--sample_solver", solver, "--resume") == 2
    assert [path.name for path in tmp_path.iterdir()] == [state.name] and state.read_bytes() == before


def test_a_state_of_before_goes_on_with_euler_as_it_began(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """HoloCine's way is the one of before; the base, which rounds no more, refuses to change on the way."""
    dtype = ("--dtype", "bfloat16", "--sample_solver", "euler")
    assert run("holocine", *dtype, name="b") == 0
    assert run("holocine", *dtype, stop=2) == 130
    make_older(tmp_path / "a.state.safetensors")
    assert run("holocine", *dtype, "--resume") == 0
    first, second = (load_file(tmp_path / f"{name}.safetensors")["latents"] for name in "ab")
    assert torch.equal(first, second)
    assert run("wan2", *dtype, name="c", stop=2) == 130
    make_older(tmp_path / "c.state.safetensors")
    assert run("wan2", *dtype, "--resume", name="c") == 2
    assert "was saved with the model's round_timestep True, not False" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_video_of_the_old_schedule_is_not_taken_for_todays(
    run: Run, tmp_path: Path, solver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--sample_solver", solver, "--resume")
    assert run("holocine", *words) == 0
    assert run("holocine", *words) == 0
    record = json.loads((tmp_path / "a.json").read_text())
    for name in ADDED:
        del record["options"][name]
    (tmp_path / "a.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert run("holocine", *words) == (0 if solver == "euler" else 2)
    said = f"made by a version in which --sample_solver {solver} had other noise levels"
    assert (said in capsys.readouterr().err) == (solver != "euler")


@pytest.mark.parametrize(("solver", "guided"), [("euler", 3), ("unipc", 2), ("dpm++", 2)])
def test_the_plan_counts_the_passes_of_the_solvers_own_timesteps(
    tiny: TinyModel, solver: str, guided: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The third step stands at 833 1/3 for Euler and at 833 for the others; the boundary lies between."""
    words = [*tiny.flags(), *QUICK, *STEPS, "--sample_solver", solver, "--dual_dit_boundary", "0.8332"]
    words += ["--guidance_scale", "1", "--guidance_scale_high_noise", "3", "--dry_run"]
    assert holocine_ext.cli.main(words) == 0
    assert f"4 steps, 4 + {guided} passes" in capsys.readouterr().out
