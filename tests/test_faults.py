"""Faults of the machine, made by the operating system: no mocks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import holocine_ext.cli
import wan2.cli.main
from holocine_ext.presets import MODELS
from tests.tiny import QUICK, TinyModel, at, reacting
from wan2.cli.out_of_memory import explain_out_of_memory
from wan2.errors import is_out_of_memory
from wan2.events import Stage
from wan2.files import held
from wan2.weights.header import read_header

ROOT = Path(__file__).parents[1]
PROMPT = ["--prompt", "a gull", "--infer_steps", "4"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a memory disk with the given options."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a disk needs rights that this user does not have")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def script(tiny: TinyModel, path: Path, *words: str) -> list[str]:
    """A command line that makes `path`."""
    program = [sys.executable, str(ROOT / "wan2_generate_video.py")]
    return [*program, *tiny.flags(), *QUICK, *PROMPT, "--save_path", str(path), *words]


def test_a_few_runs_killed_at_random_go_on_to_the_same_bytes():
    line = [sys.executable, "-m", "tests.kill_runs", "--runs", "3", "--seed", "5", "--model", "tiny"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("3 of 3 runs went on to the same bytes"), done.stderr


def test_a_list_of_some_length_leaves_memory_as_it_was():
    line = [sys.executable, "-m", "tests.soak", "--scenes", "20", "--model", "tiny"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "20 scenes of tiny in one process: all whole but the 2 broken ones, which --resume made" in done.stdout


def test_a_read_only_folder_is_refused(tiny: TinyModel, disk: Callable[[str], Path]):
    done = subprocess.run(script(tiny, disk("ro") / "a.mp4"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "is a folder that cannot be written to" in done.stderr.splitlines()[-1]


def test_a_disk_without_room_for_the_state_is_refused(tiny: TinyModel, disk: Callable[[str], Path]):
    folder = disk("size=16k")
    done = subprocess.run(script(tiny, folder / "a.mp4"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "has 0.0 MB free; its state alone takes 0.0 MB" in done.stderr.splitlines()[-1]
    assert not list(folder.iterdir())


# A console that does something to the machine as decoding begins, or after every frame of it.
MEDDLING = """
import os, resource, sys
from pathlib import Path
import wan2.cli.main

from tests.tiny import reacting
from wan2.events import FramesDecoded, Stage, StageBegan

def meddle(event):
    begins = isinstance(event, StageBegan) and event.stage is Stage.{stage}
    if isinstance(event, FramesDecoded) if {late} else begins:
        {what}

wan2.cli.main.Console = reacting(meddle)
raise SystemExit(wan2.cli.main.main(sys.argv[1:]))
"""


def meddled(what: str, words: list[str], late: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command line; `what` happens as decoding begins, or after every frame of it."""
    code = [sys.executable, "-c", MEDDLING.format(what=what, late=late, stage="DECODE")]
    return subprocess.run([*code, *words], capture_output=True, text=True, cwd=ROOT)


def test_a_disk_that_fills_up_costs_no_latents(tiny: TinyModel, disk: Callable[[str], Path], tmp_path: Path):
    folder = disk("size=200k")
    filling = f"Path({str(folder / 'others')!r}).open('wb', buffering=0).write(bytes(10**6))"
    done = meddled(filling, script(tiny, folder / "a.mp4")[2:])
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in last
    assert "; to go on: " in last
    assert {path.name for path in folder.iterdir()} == {"others", "a.state.safetensors", "a.safetensors"}
    words = ["--resume", str(folder / "a.state.safetensors"), "--save_path", str(tmp_path / "b.mp4")]
    assert wan2.cli.main.main(words) == 0
    assert {path.name for path in folder.iterdir()} == {"others", "a.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {"b.mp4", "b.json", "b.safetensors", folder.name}


def test_a_folder_that_goes_away_costs_no_latents(tiny: TinyModel, tmp_path: Path):
    folder = tmp_path / "out"
    moving = f"Path({str(folder)!r}).rename({str(tmp_path / 'moved')!r})"
    done = meddled(moving, script(tiny, folder / "a.mp4")[2:])
    assert done.returncode == 1, done.stderr
    assert "No such file or directory" in done.stderr.splitlines()[-1]
    assert wan2.cli.main.main(["--resume", str(tmp_path / "moved" / "a.state.safetensors")]) == 0
    assert {path.name for path in (tmp_path / "moved").iterdir()} == {"a.mp4", "a.json", "a.safetensors"}


def test_memory_that_runs_out_is_one_line_and_the_state_stays(tiny: TinyModel, tmp_path: Path):
    used = "int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()"
    limiting = f"resource.setrlimit(resource.RLIMIT_AS, ({used} + 30_000_000, -1))"
    done = meddled(limiting, script(tiny, tmp_path / "a.mp4", "--video_size", "512", "512")[2:])
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert "out of memory while decoding (peak " in last
    assert "; what would help: --vae_tiling, --vae_cache_cpu, --dtype bfloat16, a smaller --video_size" in last
    assert "; to go on: " in last
    assert {path.name for path in tmp_path.iterdir()} == {"a.state.safetensors", "a.safetensors"}


def test_two_runs_of_one_name_never_make_half_a_file(tiny: TinyModel, tmp_path: Path):
    path = tmp_path / "a.mp4"
    with held(tmp_path / "a") as work:
        (work / "a.mp4").write_bytes(b"half of the first")
        done = subprocess.run(script(tiny, path, "--output_type", "both"), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines() == [
            f"wan2_generate_video: --save_path {path}: another process is making it now; nothing was touched"
        ]
        assert (work / "a.mp4").read_bytes() == b"half of the first"
    assert not list(tmp_path.iterdir())


def test_what_is_out_of_memory_and_what_would_help():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("a bug"))
    for words in ("CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED"):
        assert is_out_of_memory(RuntimeError(words))
        assert explain_out_of_memory(RuntimeError(words), Stage.DENOISE).startswith("out of device memory while denois")
    said = explain_out_of_memory(torch.OutOfMemoryError(""), Stage.DECODE)
    assert said.startswith("out of device memory while decoding")
    assert "a smaller --video_size" in said


def test_a_state_that_cannot_be_written_ends_no_run(tiny: TinyModel, tmp_path: Path):
    state = tmp_path / "a.state.safetensors"
    blocking = f"Path({str(state)!r}).mkdir(exist_ok=True)"
    code = [sys.executable, "-c", MEDDLING.format(what=blocking, late=False, stage="DENOISE")]
    words = script(tiny, tmp_path / "a.mp4", "--save_every", "1")[2:]
    done = subprocess.run([*code, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.count("the state could not be saved: ") > 1
    assert done.stderr.count("has appeared since the run began, and is not replaced") > 1
    assert (tmp_path / "a.mp4").is_file()
    assert state.is_dir()


def test_a_folder_in_the_place_of_the_state_is_refused(tiny: TinyModel, tmp_path: Path):
    (tmp_path / "a.state.safetensors").mkdir()
    done = subprocess.run(script(tiny, tmp_path / "a.mp4"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "its state would be" in done.stderr and "this program did not make stands" in done.stderr
    assert not list((tmp_path / "a.state.safetensors").iterdir())


@pytest.mark.parametrize("blocks", [0, 6], ids=["before its turn", "while its blocks are streamed"])
def test_a_checkpoint_that_shrinks_while_it_is_used(tmp_path: Path, blocks: int, capsys: pytest.CaptureFixture[str]):
    nano, low = MODELS["nano"]["full"].model, tmp_path / "low.safetensors"
    low.write_bytes(nano.expert("low").path.read_bytes())
    step = 4 if blocks else 1  # of six steps, half of each expert
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wan2.cli.main, "Console", reacting(at(Stage.DENOISE, step, lambda: os.truncate(low, 40_000))))
        words = ["--model", "nano", *QUICK, *PROMPT, "--infer_steps", "6", "--dit_low_noise", str(low)]
        words += ["--blocks_to_swap", str(blocks), "--save_path", str(tmp_path / "a.mp4")]
        assert holocine_ext.cli.main(words) in (1, 2)
    line = capsys.readouterr().err.splitlines()[-1]
    assert str(low) in line
    assert "; to go on: " in line
    state = json.loads(read_header(tmp_path / "a.state.safetensors").metadata["state"])
    assert state["step"] == step - 1


def test_a_vae_that_shrinks_while_it_decodes_costs_no_latents(tiny: TinyModel, tmp_path: Path):
    vae = tmp_path / "vae.safetensors"
    vae.write_bytes(tiny.vae.read_bytes())
    shrinking = f"os.truncate({str(vae)!r}, 5000)"
    done = meddled(shrinking, script(tiny, tmp_path / "out" / "a.mp4", "--vae", str(vae))[2:], late=True)
    assert done.returncode in (1, 2, -signal.SIGBUS)  # on a processor the weights stay where they are mapped
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"a.state.safetensors"}
    vae.write_bytes(tiny.vae.read_bytes())
    assert wan2.cli.main.main(["--resume", str(tmp_path / "out" / "a.state.safetensors")]) == 0
