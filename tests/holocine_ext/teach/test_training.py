"""Trainings by the real command on the tiny model: what is written, going on bit for bit, processes, refusals."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from holocine_ext.teach.course import Course
from holocine_ext.teach.looks import Films
from holocine_ext.teach.settings import Teaching, Watching
from holocine_ext.teach.train_cli import main
from tests.holocine_ext.teach.clips import contents, words, write_clip, write_clips
from tests.holocine_ext.teach.gradients import write_gradients
from tests.tiny import TinyModel
from wan2.cli.console import Console
from wan2.errors import InputError
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.header import read_header
from wan2.weights.sources import Lora

ROOT = Path(__file__).parents[3]
BOTH = ("high", "low")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: Path, tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken training, which others are held against."""
    out = tmp_path_factory.mktemp("trained") / "gull"
    assert main(words(data, out, tiny, "--batch", "2", "--ema", "0.5", "--caption_dropout", "0.5")) == 0
    return out


def files(out: Path) -> list[object]:
    return [contents(out.with_name(f"{out.name}_{noise}_noise.safetensors")) for noise in BOTH]


def test_two_files_are_written_and_read_here(trained: Path, tiny: TinyModel):
    assert sorted(path.name for path in trained.parent.iterdir()) == [
        "gull.json", "gull_high_noise.safetensors", "gull_low_noise.safetensors",
    ]  # fmt: skip
    for noise in BOTH:
        path = trained.with_name(f"gull_{noise}_noise.safetensors")
        merged = inspect_transformer(tiny.expert(noise, "sparse"), [Lora(path, 1.0)])
        deltas = [delta for source in merged.sources.values() for delta in source.deltas]
        assert len(deltas) == 10 * merged.config.num_layers and {delta.factor for delta in deltas} == {1.0}
        header = read_header(path)
        assert header.metadata["ss_network_dim"] == "2" and header.metadata["ss_network_alpha"] == "2"
        assert all(load_file(path)[name].any() for name in header.entries if "lora_up" in name)
    record = json.loads(trained.with_suffix(".json").read_text())
    assert record["settings"]["rank"] == 2 and [step for step, _ in record["high"]["losses"]["training"]] == [3]


def test_both_experts_learn_something_of_their_own(trained: Path):
    high, low = files(trained)
    assert high != low


@pytest.mark.parametrize("stop", [1, 4, 5], ids=["in the first expert", "between them", "in the second"])
def test_a_broken_training_goes_on_to_the_same_bits(
    stop: int, trained: Path, data: Path, tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = words(data, tmp_path / "gull", tiny, "--batch", "2", "--ema", "0.5", "--caption_dropout", "0.5")
    steps = 0

    def advance(_: Console, count: int = 1) -> None:
        nonlocal steps
        steps += count
        if steps == 3 + stop:  # three clips are encoded before
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Console, "advance", advance)
        assert main(asked) == 130
    assert list(tmp_path.glob("*.state.safetensors"))
    assert main([*asked, "--resume"]) == 0
    assert files(tmp_path / "gull") == files(trained)
    assert not list(tmp_path.glob("*.state.safetensors"))


def test_a_finished_training_is_left_alone(trained: Path, data: Path, tiny: TinyModel, tmp_path: Path):
    for path in trained.parent.iterdir():
        shutil.copy(path, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert main([*words(data, tmp_path / "gull", tiny, "--rank", "4"), "--resume"]) == 0
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_state_that_cannot_be_written_ends_nothing(
    trained: Path, data: Path, tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("holocine_ext.teach.course.save_training", full)
    asked = words(data, tmp_path / "gull", tiny, "--batch", "2", "--ema", "0.5", "--caption_dropout", "0.5")
    assert main([*asked, "--save_every", "1"]) == 0
    assert files(tmp_path / "gull") == files(trained)


def test_a_state_of_another_training_is_refused(
    data: Path, tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    asked = words(data, tmp_path / "gull", tiny)
    told = Console.advance

    def advance(console: Console, count: int = 1) -> None:
        told(console, count)
        if list(tmp_path.glob("*.state.safetensors")):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Console, "advance", advance)
        assert main([*asked, "--save_every", "1"]) == 130
    for change, said in ((["--rank", "3"], "--rank 2, now it is 3"), (["--seed", "1"], "--seed 0, now it is 1")):
        assert main([*asked, *change, "--resume"]) == 2
        assert said in capsys.readouterr().err
    assert main(asked) == 2
    assert "is unfinished; go on with --resume" in capsys.readouterr().err


def test_streamed_and_offloaded_it_learns_the_same(trained: Path, data: Path, tiny: TinyModel, tmp_path: Path):
    asked = words(data, tmp_path / "gull", tiny, "--batch", "2", "--ema", "0.5", "--caption_dropout", "0.5")
    assert main([*asked, "--blocks_to_swap", "2", "--offload_inputs"]) == 0
    assert files(tmp_path / "gull") == files(trained)


def test_an_fp8_base_and_full_attention_train(data: Path, tiny: TinyModel, tmp_path: Path):
    assert main(words(data, tmp_path / "gull", tiny, "--fp8_scaled", "--experts", "low", variant="full")) == 0
    assert [path.name for path in sorted(tmp_path.glob("*.safetensors"))] == ["gull_low_noise.safetensors"]


def test_validation_keeps_the_best(data: Path, tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    more = ["--held_out", "1", "--validate_every", "1", "--experts", "high"]
    assert main(words(data, tmp_path / "gull", tiny, *more, "--blocks_to_swap", "2")) == 0
    record = json.loads((tmp_path / "gull.json").read_text())["high"]
    found = dict(record["losses"]["validation"])
    assert sorted(found) == [1, 2, 3] and record["best"] == [min(found.values()), min(found, key=found.__getitem__)]
    assert (tmp_path / "gull_high_noise_best.safetensors").is_file()
    assert capsys.readouterr().err.count("loss of held-out clips") == 3


def test_films_that_were_made_stay_in_the_record(
    data: Path, tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = words(data, tmp_path / "gull", tiny, "--held_out", "1", "--validate_every", "1", "--films", "1")
    asked += ["--experts", "high"]
    tried: list[int] = []

    def make(_: Films, __: str, step: int, *___: object) -> dict[str, float]:
        tried.append(step)
        if tried == [1, 2]:
            raise KeyboardInterrupt
        return {"SCA": step / 10}

    monkeypatch.setattr(Films, "make", make)
    assert main(asked) == 130
    assert main([*asked, "--resume"]) == 0
    record = json.loads((tmp_path / "gull.json").read_text())
    expected = [{"expert": "high", "step": step, "SCA": step / 10} for step in (1, 2, 3)]
    assert tried == [1, 2, 2, 3] and record["films"] == expected
    assert [step for step, _ in record["high"]["losses"]["validation"]] == [1, 2, 3]


def test_what_is_encoded_is_kept_by_content(
    data: Path, tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    shutil.copy(copy / "clip0.mp4", copy / "again.mp4")
    shutil.copy(copy / "clip0.toml", copy / "again.toml")
    monkeypatch.setattr("wan2.run.models.Models.vae", lambda *_, **__: pytest.fail("encoded twice"))
    monkeypatch.setattr("wan2.run.models.Models.encode", lambda *_: pytest.fail("encoded twice"))
    assert main(words(copy, tmp_path / "gull", tiny, "--experts", "high", "--steps", "1")) == 0


def test_gradients_of_two_processes_are_those_of_one(
    data: Path, tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = ["--batch", "2", "--experts", "high", "--steps", "2", "--learning_rate", "1e-6"]
    with monkeypatch.context() as patch:
        patch.setattr(Course, "_move", Course._move)
        write_gradients(tmp_path / "one")
        assert main(words(data, tmp_path / "one" / "gull", tiny, *asked)) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = [sys.executable, "-m", "tests.holocine_ext.teach.gradients", str(tmp_path / "two")]
    script += words(data, tmp_path / "two" / "gull", tiny, *asked)
    told = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    numbers = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
    team = [subprocess.Popen(script, env={**told, **own}, stderr=subprocess.PIPE, cwd=ROOT) for own in numbers]
    said = [process.communicate(timeout=120)[1].decode() for process in team]
    assert [process.returncode for process in team] == [0, 0], said
    for step in ("high0", "high1"):
        one, two = (load_file(tmp_path / folder / f"{step}.safetensors") for folder in ("one", "two"))
        assert any(value.any() for value in one.values())
        for name, value in one.items():
            assert torch.allclose(value, two[name], rtol=1e-4, atol=1e-6 * float(value.abs().max())), name


def test_dry_run_shows_memory_and_writes_nothing(
    data: Path, tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main([*words(data, tmp_path / "gull", tiny), "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "clips     3 of 6 shots to train on" in shown and "longest   clip1: 13 frames, 2 shots, 16 tokens" in shown
    assert "TFLOP a step, 6 steps in all" in shown and not list(tmp_path.iterdir())
    assert main([*words(data, tmp_path / "gull", tiny), "--dry_run", "--tflops", "1e-9"]) == 0
    flops, seconds = (float(re.search(found, shown)[1]) for found, shown in (  # type: ignore[index]
        (r"(\S+) TFLOP a step", shown), (r"predicted: .* a step, (\S+) h in all", capsys.readouterr().out),
    ))  # fmt: skip
    assert seconds * 3600 == pytest.approx(6 * flops * 1e9, rel=0.02)


BAD = [
    (["--data", "gone"], "--data gone: no such folder"),
    (["--data", "empty"], "--data empty: holds no film"),
    (["--data", "bare"], "clip.mp4: no storyboard beside it"),
    (["--data", "moved"], "cut 6: must be 4t\\+1, where a latent frame begins"),
    (["--data", "late"], "cuts \\(13,\\) do not ascend inside 9 frames"),
    (["--data", "off"], "has 10 frames, which is not 4t\\+1"),
    (["--data", "large"], "size \\[32, 32\\]: clip.mp4 is 48x48"),
    (["--data", "towrite"], "caption.*is empty"),
    (["--data", "broken"], "clip.mp4: is not a video"),
    (["--steps", "0"], "--steps 0: must lie between"),
    (["--rank", "0"], "--rank 0: must lie between"),
    (["--rank", "x"], "--rank: 'x' is not a whole number"),
    (["--alpha", "0"], "--alpha 0.0: must lie between"),
    (["--alpha", "nan"], "--alpha nan: must be a finite number"),
    (["--learning_rate", "2"], "--learning_rate 2.0: must lie between"),
    (["--targets", "q", "x"], "--targets x: must be of q, k, v, o, ffn"),
    (["--targets", "q", "q"], "--targets q q: must be named once"),
    (["--batch", "0"], "--batch 0: must lie between"),
    (["--warmup", "9"], "--warmup 9: must be at most --steps 3"),
    (["--schedule", "wavy"], "--schedule: invalid choice"),
    (["--optimiser", "adamw8bit"], "--optimiser adamw8bit: the package bitsandbytes is not installed"),
    (["--ema", "1"], "--ema 1.0: must lie between"),
    (["--caption_dropout", "2"], "--caption_dropout 2.0: must lie between"),
    (["--seed", "-1"], "--seed -1: must lie between"),
    (["--held_out", "3", "--validate_every", "1"], "--held_out 3: of 3 clips none would be left"),
    (["--held_out", "1"], "--held_out 1: needs --validate_every, too"),
    (["--validate_every", "1"], "--validate_every 1: needs --held_out, too"),
    (["--films", "2", "--held_out", "1", "--validate_every", "1"], "--films 2: must be at most --held_out 1"),
    (["--save_path", "a.safetensors"], "--save_path a.safetensors: is a name for two files"),
    (["--save_path", "mine"], "mine_high_noise.safetensors is there already"),
    (["--save_path", "mine", "--overwrite"], "mine_high_noise.safetensors is there, and not this program's"),
    (["--save_path", "file/x"], "--save_path file/x: .*cannot be written to"),
    (["--resume", "--overwrite"], "--resume: goes on, so it cannot go with --overwrite"),
    (["--blocks_to_swap", "1"], "--blocks_to_swap 1: training streams at least 2"),
    (["--blocks_to_swap", "99"], "--blocks_to_swap 99: must lie between"),
    (["--vram_budget", "0.000001"], "--vram_budget 1e-06: a step on clip1 needs at least"),
    (["--device", "tpu"], "--device tpu: must be"),
    (["--dit_high_noise", "gone"], "--dit_high_noise gone"),
    (["--vae", "gone"], "--vae gone"),
    (["--t5", "gone"], "--t5 gone"),
    (["--tokenizer", "gone"], "--tokenizer gone"),
    (["--dit_high_noise", "FULL"], "holds full weights"),
    (["--experts", "none"], "--experts: invalid choice"),
    (["--card", "abacus", "--dry_run"], "--card abacus: is not in the table"),
    (["--tflops", "1"], "--tflops 1: only --dry_run says how long"),
    (["--unknown"], "unrecognized arguments: --unknown"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips that will not do, each for a reason of its own."""
    folder = Path(tmp_path_factory.mktemp("bad"))
    (folder / "empty").mkdir()
    write_clip(folder / "bare", "clip").with_suffix(".toml").unlink()
    write_clip(folder / "moved", "clip", cut=6)
    write_clip(folder / "late", "clip", cut=13)
    write_clip(folder / "off", "clip", frames=10)
    write_clip(folder / "large", "clip", size=48)
    board = write_clip(folder / "towrite", "clip").with_suffix(".toml")
    board.write_text(board.read_text().replace("A gull, wide.", ""))
    write_clip(folder / "broken", "clip").write_text("no video")
    (folder / "mine_high_noise.safetensors").write_text("mine")
    (folder / "file").write_text("a file")
    return folder


@pytest.mark.parametrize(("more", "said"), BAD, ids=[" ".join(more) for more, _ in BAD])
def test_bad_input_is_one_line_and_nothing_is_written(
    more: list[str],
    said: str,
    data: Path,
    bad: Path,
    tiny: TinyModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(bad)
    more = [str(tiny.expert("high", "full")) if word == "FULL" else word for word in more]
    before = set(bad.rglob("*"))
    assert main([*words(data, Path("out/gull"), tiny), *more]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("holocine_train_lora: ")]
    assert re.search(said, lines[-1]), lines
    assert set(bad.rglob("*")) == before


def test_settings_complete_themselves():
    assert (Teaching(rank=8).alpha, Teaching(steps=30).warmup, Teaching().warmup) == (8.0, 3, 50)
    assert Watching(Path("out/a")).file("high") == Path("out/a_high_noise.safetensors")
    with pytest.raises(InputError, match="held_out 1: needs `validate_every`, too"):
        Watching(Path("out/a"), held_out=1)
