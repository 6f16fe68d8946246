"""Model files that change during a run: noticed, said in one line, and nothing of them gets into the latents."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import wan2.cli.main
from tests.tiny import QUICK, TinyModel, at, reacting, write_tiny_model
from tests.wan2.fp8_files import SIX, six_blocks, write
from tests.wan2.lora_files import comfy, draw, write_lora
from wan2.events import Stage
from wan2.run.video_io import read_video
from wan2.weights.fingerprint import fingerprint
from wan2.weights.fp8_cache import cache_path
from wan2.weights.header import read_header

STEPS = ["--prompt", "a gull", "--infer_steps", "4", "--flow_shift", "5", "--save_every", "1", "--output_type", "both"]
STREAMED = ["--blocks_to_swap", "5"]
WAYS = ("replaced", "written over", "written over, with its old time", "removed")


@dataclass
class Model:
    """A model of six blocks in a folder of its own, a LoRA for each expert, and what an undisturbed run makes of it."""

    folder: Path
    tiny: TinyModel

    @property
    def files(self) -> dict[str, Path]:
        """What may change."""
        tiny = self.tiny
        return {
            "high": tiny.expert("high"),
            "low": tiny.expert("low"),
            "t5": tiny.t5,
            "vae": tiny.vae,
            "lora": self.folder / "low.lora",
            "kept fp8": cache_path(tiny.expert("low")),
        }

    def run(self, name: str, *words: str) -> int:
        """Run a command line; its exit code."""
        path = self.folder / "out" / f"{name}.mp4"
        return wan2.cli.main.main([*self.tiny.flags(), *QUICK, *STEPS, "--save_path", str(path), *words])


@pytest.fixture
def model(tmp_path: Path) -> Model:
    tiny = write_tiny_model(tmp_path / "model")
    for noise in ("high", "low"):
        write(tiny.expert(noise), six_blocks(noise), torch.float32)
    write_lora(tmp_path / "low.lora", comfy(draw(SIX)))
    return Model(tmp_path, tiny)


def altered(path: Path) -> bytes:
    """Another file of the same size and the same form."""
    content = bytearray(path.read_bytes())
    for entry in read_header(path).entries.values():
        if entry.dtype == "F32":
            np.frombuffer(content, "<f4", (entry.end - entry.start) // 4, entry.start)[:] *= 1.5
    assert content != path.read_bytes()
    return bytes(content)


def change(path: Path, content: bytes, way: str) -> None:
    """What somebody else does to a file."""
    stat = path.stat()
    if way == "removed":
        path.unlink()
    elif way == "replaced":
        new = path.with_name("new")
        new.write_bytes(content)
        new.replace(path)
    else:
        with path.open("r+b") as file:
            file.write(content)
        if way.endswith("time"):
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


CASES = {
    "low, before its turn": ("low", Stage.DENOISE, 1, []),
    "low, in its turn": ("low", Stage.DENOISE, 3, STREAMED),
    "low, before its turn, streamed": ("low", Stage.DENOISE, 1, STREAMED),
    "high, in its turn": ("high", Stage.DENOISE, 1, STREAMED),
    "high, loaded whole": ("high", Stage.DENOISE, 1, []),
    "lora, before its turn": ("lora", Stage.DENOISE, 1, []),
    "lora, in its turn": ("lora", Stage.DENOISE, 3, STREAMED),
    "kept fp8, in its turn": ("kept fp8", Stage.DENOISE, 3, [*STREAMED, "--fp8_scaled", "--fp8_cache"]),
    "t5": ("t5", Stage.ENCODE_TEXT, 0, []),
    "vae, before it is read": ("vae", Stage.DENOISE, 2, []),
    "vae": ("vae", Stage.DECODE, 3, []),
}


# Every file in one of the ways, and a streamed and a loaded one in all of them.
CHANGES = {(case, WAYS[number % len(WAYS)]) for number, case in enumerate(CASES)}
CHANGES |= {(case, way) for case in ("low, in its turn", "low, before its turn") for way in WAYS}


@pytest.mark.parametrize(("case", "way"), sorted(CHANGES))
def test_a_file_that_changes_is_noticed(
    model: Model, case: str, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    name, stage, step, words = CASES[case]
    words = [*words, *(["--lora_weight", str(model.files["lora"])] if name == "lora" else [])]
    assert model.run("b", *words) == 0
    path = model.files[name]
    kept, content = path.with_name("kept"), altered(path)
    shutil.copy2(path, kept)
    done: list[int] = []

    def meddle() -> None:
        change(path, content, way)
        done.append(1)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(wan2.cli.main, "Console", reacting(at(stage, step, meddle)))
        code = model.run("a", *words)
    err = capsys.readouterr().err
    assert done
    assert code == 1, err
    assert str(path) in err.splitlines()[-1]
    assert "Traceback" not in err
    out = model.folder / "out"
    left = {file.name for file in out.iterdir()} - {"b.mp4", "b.json", "b.safetensors"}
    latents = {"a.safetensors"} if stage == Stage.DECODE else set()
    assert left == ({"a.state.safetensors"} if stage in (Stage.DENOISE, Stage.DECODE) else set()) | latents
    if stage == Stage.DENOISE:
        state = json.loads(read_header(out / "a.state.safetensors").metadata["state"])
        assert state["step"] + 1 in (step, step + 1)
    kept.replace(path)
    assert model.run("a", *words, "--resume") == 0
    assert_same(out)


def assert_same(out: Path) -> None:
    """Latents, frames and fingerprints as those of the undisturbed run."""
    for field in ("tensors", "frames", "checkpoints"):
        one, other = (of(out, name, field) for name in "ab")
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert {file.name for file in out.iterdir()} == {
        f"{name}{ending}" for name in "ab" for ending in (".mp4", ".json", ".safetensors")
    }


def of(out: Path, name: str, field: str) -> object:
    if field == "tensors":
        return load_file(out / f"{name}.safetensors")["latents"]
    if field == "frames":
        return torch.from_numpy(read_video(out / f"{name}.mp4"))
    return json.loads((out / f"{name}.json").read_text())["checkpoints"]


@pytest.mark.parametrize("wave", [1, 2])
def test_a_changed_file_of_a_list_costs_the_wave_that_ran(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wave: int
):
    """What ran when the file changed is not made, and keeps its state; the next is made with the new file."""
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"a gull --d {seed}\n" for seed in range(1, wave + 2)))
    path, out = model.files["low"], model.folder / "out"

    def meddle() -> None:
        change(path, altered(path), "replaced")

    words = [word for word in [*model.tiny.flags(), *QUICK, *STEPS] if word not in ("--seed", "7")]
    words = [word for word in words if word not in ("--prompt", "a gull")]
    words += ["--from_file", str(listed), "--save_path", str(out / "a.mp4"), "--wave", str(wave)]
    with monkeypatch.context() as patch:
        patch.setattr(wan2.cli.main, "Console", reacting(at(Stage.DENOISE, 3, meddle)))
        assert wan2.cli.main.main(words) == 1
    err = capsys.readouterr().err
    assert f"{path}: was changed while the run used it" in err
    assert f"{path}: has changed; the videos that are left are planned anew" in err
    names = {file.name for file in out.iterdir()}
    assert names == {f"a-00{number}.state.safetensors" for number in range(1, wave + 1)} | {
        f"a-00{wave + 1}{ending}" for ending in (".mp4", ".json", ".safetensors")
    }
    record = json.loads((out / f"a-00{wave + 1}.json").read_text())
    assert record["checkpoints"]["dit_low_noise"] == fingerprint([path])


@pytest.mark.parametrize("harmless", ["read", "linked", "permissions"])
def test_what_changes_nothing_ends_no_run(model: Model, harmless: str, monkeypatch: pytest.MonkeyPatch):
    path = model.files["low"]
    meddle = {
        "read": lambda: path.read_bytes() and None,
        "linked": lambda: os.link(path, path.with_name("link")) if not path.with_name("link").exists() else None,
        "permissions": lambda: path.chmod(0o444),
    }[harmless]
    assert model.run("b", *STREAMED) == 0
    with monkeypatch.context() as patch:
        patch.setattr(wan2.cli.main, "Console", reacting(at(Stage.DENOISE, 3, meddle)))
        assert model.run("a", *STREAMED) == 0
    assert_same(model.folder / "out")
