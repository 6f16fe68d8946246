"""LoRAs from the command line: the same bits as merged checkpoints, streamed, kept and unbroken or not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import holocine_ext.cli
import wan2.cli.main
import wan2.run.models
from tests.tiny import QUICK, TinyModel, impatient, write_tiny_model
from tests.wan2.fp8_files import FOUR_HEADS, SIX, scaled, six_blocks, write
from tests.wan2.lora_files import Drawn, comfy, draw, kohya, with_whole, write_lora
from wan2.events import StepTaken
from wan2.models.branches import Run, Strengths
from wan2.plan.plan import make_plan
from wan2.request.flat import make_request
from wan2.request.model import EXPERT_FLAG
from wan2.request.presets import WAN22_T2V
from wan2.run.job import Job
from wan2.run.session import Session

ROOT = Path(__file__).parents[1]
PROMPT = ["--prompt", "a gull"]
STEPS = ["--infer_steps", "4", "--flow_shift", "5"]  # two of each expert
HIGH, LOW = with_whole(draw(SIX, seed=1), SIX), draw(SIX, seed=2, rank=6)


@pytest.fixture
def model(tmp_path: Path) -> TinyModel:
    """A whole model, its transformers six blocks deep, and a LoRA for each of them in the folder beside."""
    made = write_tiny_model(tmp_path / "model")
    for noise in EXPERT_FLAG:
        write(made.expert(noise), six_blocks(noise), torch.float32)
    write_lora(tmp_path / "high.lora", comfy(HIGH))
    write_lora(tmp_path / "low.lora", kohya(LOW))
    return made


def loras(folder: Path, high: str = "0.5", low: str = "1.5") -> list[str]:
    words = ["--lora_weight_high_noise", str(folder / "high.lora"), "--lora_multiplier_high_noise", high]
    return [*words, "--lora_weight", str(folder / "low.lora"), "--lora_multiplier", low]


def run(model: TinyModel, save_path: Path, *words: str) -> int:
    ready = [
        *model.flags(),
        *QUICK,
        *STEPS,
        *PROMPT,
        "--output_type",
        "latent",
        "--save_path",
        str(save_path),
    ]
    again = [] if "--resume" in words else ["--overwrite"]
    return wan2.cli.main.main([*ready, *again, *words])


def latents(model: TinyModel, *words: str, name: str = "a") -> Tensor:
    path = model.root.parent / f"{name}.safetensors"
    assert run(model, path, *words) == 0
    return load_file(path)["latents"]


def merged(noise: str, drawn: Drawn, multiplier: float) -> dict[str, Tensor]:
    """An expert with a LoRA in it, in fp32, by hand."""
    made = {name: tensor.float() for name, tensor in six_blocks(noise).items()}
    for module, (up, down, alpha) in drawn.pairs.items():
        assert alpha is not None
        factor = multiplier * (alpha / down.shape[0])
        made[f"{module}.weight"] = made[f"{module}.weight"] + factor * (up.float() @ down.float())
    return made | {name: made[name] + multiplier * tensor for name, tensor in drawn.whole.items()}


@pytest.mark.parametrize("words", [["--dtype", "float32"], ["--dtype", "bfloat16"], ["--fp8_scaled"]], ids=" ".join)
def test_a_run_with_loras_is_one_of_merged_checkpoints_bit_for_bit(model: TinyModel, words: list[str]) -> None:
    folder = model.root.parent
    plain = latents(model, *words)
    whole = latents(model, *words, *loras(folder))
    assert (whole - plain).norm() / plain.norm() > 1e-3
    for count in ("2", "6"):
        assert torch.equal(latents(model, *words, *loras(folder), "--blocks_to_swap", count), whole)
    assert torch.equal(latents(model, *words, *loras(folder, "0", "0")), plain)
    save_file(merged("high", HIGH, 0.5), model.expert("high"), FOUR_HEADS)
    save_file(merged("low", LOW, 1.5), model.expert("low"), FOUR_HEADS)
    assert torch.equal(latents(model, *words), whole)


def test_each_option_is_for_one_expert_alone(model: TinyModel) -> None:
    words = loras(model.root.parent)
    both, high, low, none = (latents(model, *given) for given in (words, words[:4], words[4:], []))
    for one, other in ((both, high), (both, low), (high, low), (high, none), (low, none)):
        assert not torch.equal(one, other)
    save_file(merged("low", LOW, 1.5), model.expert("low"), FOUR_HEADS)
    assert torch.equal(latents(model), low)


def test_one_multiplier_is_for_all_and_none_is_one() -> None:
    def made(*multipliers: float) -> tuple[float, ...]:
        given = {"lora_weight": [Path("a"), Path("b")], "lora_multiplier": list(multipliers) or None}
        made = make_request(WAN22_T2V, {"prompt": "-", **given})
        return tuple(lora.multiplier for lora in made.model.expert("low").loras)

    assert (made(), made(0.5), made(0.5, -2.0)) == ((1.0, 1.0), (0.5, 0.5), (0.5, -2.0))
    plain = make_request(WAN22_T2V, {"prompt": "-"})
    assert plain.model.expert("high").loras == plain.model.expert("low").loras == ()


@pytest.mark.parametrize("kind", ["float32", "fp8"])
def test_kept_fp8_weights_are_those_of_the_loras(
    model: TinyModel, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model.root.parent
    if kind == "fp8":
        for noise in EXPERT_FLAG:
            write(model.expert(noise), scaled(six_blocks(noise)), torch.float32)
    kept = model.expert("high").parent
    whole = latents(model, "--fp8_scaled", *loras(folder))
    words = ["--fp8_scaled", "--fp8_cache", "--blocks_to_swap", "6"]
    assert torch.equal(latents(model, *words, *loras(folder)), whole)
    names = {path.name for path in kept.glob("*.fp8.safetensors")}
    assert len(names) == 2 and all(".lora-" in name for name in names)
    capsys.readouterr()
    assert torch.equal(latents(model, *words, *loras(folder)), whole)
    assert "Writing" not in capsys.readouterr().err
    other = latents(model, *words, *loras(folder, "0.5", "1.25"))
    assert not torch.equal(other, whole)
    assert capsys.readouterr().err.count("Writing") == 1
    assert torch.equal(latents(model, "--fp8_scaled", *loras(folder, "0.5", "1.25")), other)
    write_lora(folder / "low.lora", kohya(draw(SIX, seed=3)))
    changed = latents(model, *words, *loras(folder))
    assert "is not of the --dit_low_noise and its LoRAs of today; it is made again" in capsys.readouterr().err
    assert torch.equal(latents(model, "--fp8_scaled", *loras(folder)), changed)


def test_a_broken_run_goes_on_with_the_same_loras_alone(
    model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = latents(model, *loras(tmp_path), name="b")
    with monkeypatch.context() as patched:
        patched.setattr(wan2.cli.main, "Console", impatient(1))
        assert run(model, tmp_path / "a.safetensors", *loras(tmp_path)) == 130
    state = tmp_path / "a.state.safetensors"

    def refused(*words: str) -> str:
        capsys.readouterr()
        assert wan2.cli.main.main(["--resume", str(state), *words]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "was saved with --lora_multiplier [1.5], not [1.0]" in refused("--lora_multiplier", "1")
    two = ["--lora_weight_high_noise", *[str(tmp_path / "high.lora")] * 2]
    assert "was saved with --lora_weight_high_noise high.lora, not high.lora high.lora" in refused(*two)
    swapped = refused("--lora_weight", str(tmp_path / "high.lora"))
    assert "was saved with another --lora_weight, of fingerprint" in swapped
    capsys.readouterr()
    assert run(model, tmp_path / "a.safetensors", *loras(tmp_path)[:4], "--resume") == 2
    assert "was saved with --lora_weight low.lora, not none" in capsys.readouterr().err
    before = (tmp_path / "low.lora").read_bytes()
    write_lora(tmp_path / "low.lora", kohya(draw(SIX, seed=8, rank=6)))
    assert "was saved with another --lora_weight, of fingerprint" in refused()
    (tmp_path / "low.lora").unlink()
    assert "low.lora: no such file" in refused()
    (tmp_path / "elsewhere").write_bytes(before)
    assert wan2.cli.main.main(["--resume", str(state), "--lora_weight", str(tmp_path / "elsewhere")]) == 0
    assert torch.equal(load_file(tmp_path / "a.safetensors")["latents"], whole)


def test_a_state_without_loras_takes_none(
    model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(wan2.cli.main, "Console", impatient(1))
        assert run(model, tmp_path / "a.safetensors") == 130
    assert run(model, tmp_path / "a.safetensors", *loras(tmp_path)[4:], "--resume") == 2
    assert "was saved with --lora_weight none, not low.lora" in capsys.readouterr().err


def test_the_record_tells_and_a_finished_video_is_held_against_it(
    model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latents(model, *loras(tmp_path), "--lora_multiplier_high_noise", "0.25")
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["options"]["lora_weight"] == ["low.lora"] and record["options"]["lora_multiplier"] == [1.5]
    assert record["options"]["lora_multiplier_high_noise"] == [0.25]
    assert record["checkpoints"]["lora_weight_high_noise"]["files"] == ["high.lora"]
    capsys.readouterr()
    again = [*loras(tmp_path, high="0.25"), "--resume"]
    assert run(model, tmp_path / "a.safetensors", *again) == 0
    assert "is there already" in capsys.readouterr().err
    for words, said in (
        (loras(tmp_path, high="0.5"), "made with --lora_multiplier_high_noise [0.25], not [0.5]"),
        (loras(tmp_path)[:4], "made with --lora_weight low.lora, not none"),
    ):
        assert run(model, tmp_path / "a.safetensors", *words, "--resume") == 2
        assert said in capsys.readouterr().err
    write_lora(tmp_path / "low.lora", kohya(draw(SIX, seed=8)))
    assert run(model, tmp_path / "a.safetensors", *again) == 2
    assert "made with another --lora_weight, of fingerprint" in capsys.readouterr().err


def test_the_lines_of_a_list_share_them(model: TinyModel, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a gull\na gull\n")
    ready = [*model.flags(), *QUICK, *STEPS, "--from_file", str(tmp_path / "list.txt"), "--output_type", "latent"]
    assert wan2.cli.main.main([*ready, *loras(tmp_path), "--save_path", str(tmp_path / "l.safetensors")]) == 0
    for name in ("l-001", "l-002"):
        assert torch.equal(load_file(tmp_path / f"{name}.safetensors")["latents"], latents(model, *loras(tmp_path)))


def test_lightning_through_the_real_script(model: TinyModel, tmp_path: Path) -> None:
    words = [*model.flags(), *QUICK[:5], "--device", "cpu", "--seed", "3", "--preset", "lightning", *PROMPT]
    words += [*loras(tmp_path), "--infer_steps", "4", "--save_path", str(tmp_path / "v.mp4")]
    command = [sys.executable, str(ROOT / "holocine_generate_video.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "v.json").read_text())
    assert (record["options"]["guidance_scale"], record["options"]["flow_shift"], record["passes"]) == (1.0, 5.0, 4)
    assert record["options"]["lora_weight"] == ["low.lora"] and record["options"]["lora_multiplier"] == [1.5]


def test_the_plan_names_them(model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*model.flags(), *QUICK, *PROMPT, "--dry_run"]
    assert holocine_ext.cli.main([*words, *loras(tmp_path)]) == 0
    told = "LoRA       high-noise expert high.lora x 0.5; low-noise expert low.lora x 1.5\n"
    assert told in capsys.readouterr().out
    assert holocine_ext.cli.main([*words, "--lora_weight", str(tmp_path / "low.lora")]) == 0
    assert "LoRA       high-noise expert none; low-noise expert low.lora x 1\n" in capsys.readouterr().out
    assert holocine_ext.cli.main([*words, *loras(tmp_path), "--lora_mode", "branch"]) == 0
    assert told.replace("\n", "; beside the weights\n") in capsys.readouterr().out
    assert holocine_ext.cli.main(words) == 0
    assert "LoRA" not in capsys.readouterr().out
    assert holocine_ext.cli.main([*words, "--lora_weight", "absent"]) == 2


def test_values_that_are_not_finite_end_the_run_in_a_line(
    model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = comfy(HIGH)
    name = "diffusion_model.blocks.4.ffn.0.lora_up.weight"
    write_lora(tmp_path / "high.lora", tensors | {name: tensors[name] * float("nan")})
    said = f"high.lora: tensor {name} holds values that are not finite"
    assert run(model, tmp_path / "a.safetensors", *loras(tmp_path)) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)
    assert run(model, tmp_path / "a.safetensors", *loras(tmp_path), "--blocks_to_swap", "6") == 1
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_beside_the_weights_is_nearly_merged(model: TinyModel, tmp_path: Path) -> None:
    """The same latents but for rounding, the same to the bit streamed; with fp8 the rounding is coarser."""
    for words, apart in ((["--dtype", "float32"], 1e-5), (["--fp8_scaled"], 0.2)):
        whole = latents(model, *words, *loras(tmp_path))
        branch = latents(model, *words, *loras(tmp_path), "--lora_mode", "branch")
        assert 0 < (branch - whole).norm() < apart * whole.norm()
        streamed = latents(model, *words, *loras(tmp_path), "--lora_mode", "branch", "--blocks_to_swap", "6")
        assert torch.equal(streamed, branch)
    plain = latents(model, "--dtype", "float32")
    none = ["--dtype", "float32", *loras(tmp_path, "0", "0"), "--lora_mode", "branch"]
    assert torch.equal(latents(model, *none), plain)


def test_kept_fp8_weights_serve_all_that_stands_beside_them(
    model: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--fp8_scaled", "--lora_mode", "branch", *loras(tmp_path)]
    whole = latents(model, *words)
    assert torch.equal(latents(model, *words, "--fp8_cache"), whole)
    capsys.readouterr()
    kept = {path.name for path in model.expert("high").parent.glob("*.fp8.safetensors")}
    assert len(kept) == 2 and not any(".lora-" in name for name in kept)
    other = loras(tmp_path, "0.25", "-1")
    assert not torch.equal(latents(model, *words[:3], *other, "--fp8_cache"), whole)
    latents(model, "--fp8_scaled", "--fp8_cache")
    assert "Writing" not in capsys.readouterr().err


def test_a_session_changes_what_stands_beside_without_loading(
    model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Multipliers by the request, runs of tokens by the job; the merged norms of the high one's need it loaded anew."""
    flags = model.flags()
    files = {name.removeprefix("--"): Path(path) for name, path in zip(flags[::2], flags[1::2], strict=True)}
    words = {
        "infer_steps": 4,
        "height": 32,
        "width": 32,
        "num_frames": 9,
        "device": "cpu",
        "seed": 3,
        "guidance_scale": 1.0,
    }
    loaded = []
    whole = wan2.run.models.load_transformer
    monkeypatch.setattr("wan2.run.models.load_transformer", lambda *args: (loaded.append(1), whole(*args))[1])

    def job(name: str, multiplier: float, ranges: tuple[Strengths, ...] | None = None) -> Job:
        given = {"prompt": "a gull", "lora_mode": "branch", "lora_weight": [tmp_path / "low.lora"], **words, **files}
        given |= {"lora_weight_high_noise": [tmp_path / "low.lora"], "lora_multiplier_high_noise": [multiplier]}
        given |= {"output_type": "latent", "save_path": tmp_path / f"{name}.safetensors"}
        made = make_plan(make_request(WAN22_T2V, given | {"lora_multiplier": [multiplier]}))
        return Job(made, lora_ranges=None if ranges is None else lambda _: ranges)

    half = Strengths(0.0, (Run(0, 100, 0.5),), (Run(0, 512, 0.5),))
    jobs = {"a": job("a", 1.0), "b": job("b", 0.5), "c": job("c", 1.0, (half,)), "d": job("d", 0.0)}
    jobs["e"] = job("e", 1.0, (Strengths(0.0, (Run(0, 2, 0.5),)),))
    with Session(jobs["a"].plan.request.model, jobs["a"].plan.request.compute) as session:
        for each in jobs.values():
            assert sum(isinstance(event, StepTaken) for event in session.run(each)) == 4
    assert jobs["a"].plan.work is not None
    assert jobs["a"].plan.work.beside == sum(up.numel() + down.numel() for up, down, _ in LOW.pairs.values())
    made = {name: load_file(tmp_path / f"{name}.safetensors")["latents"] for name in jobs}
    assert len(loaded) == 2
    assert not torch.equal(made["a"], made["b"]) and not torch.equal(made["e"], made["d"])
    assert (made["c"] - made["b"]).norm() < 0.05 * (made["d"] - made["b"]).norm()
