"""Kills or stops processes of runs on several cards at random moments: `python -m tests.rank_kills --runs 50`.

A run has two or three processes. One of them, the first among them, is killed at a random moment; one beside the first
may also be stopped for good, as one that hangs. What must hold: all processes end within 30 seconds, with one line that
says which was lost if it was not the first; the same command line with `--resume`, on one card, ends with the latents
of a run that nobody killed, bit for bit.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file
from torch import Tensor

from holocine_ext.cli import main as generate

ROOT = Path(__file__).parents[1]
SCRIPT = [sys.executable, str(ROOT / "holocine_generate_video.py")]
SCENE = ["--model", "nano", "--variant", "sparse", "--device", "cpu", "--output_type", "latent", "--seed", "3"]
SCENE += ["--global_caption", "A ball.", "--shot_captions", "It rolls", "It rests", "It is gone"]
SCENE += ["--infer_steps", "10", "--save_every", "1", "--resume"]
SHARED = {2: ("cfg", "shots"), 3: ("shots",)}
LIMIT = 30.0
ENDS = ("before the first step", "later", "after the end")


@dataclass(frozen=True)
class Loss:
    """Which process is lost, how, and after how many seconds."""

    cards: int
    how: str
    rank: int
    signal: signal.Signals
    after: float

    def __str__(self) -> str:
        return f"{self.signal.name} to process {self.rank + 1} of {self.cards} ({self.how}) after {self.after:.2f} s"


def draw(choose: random.Random, longest: float) -> Loss:
    """A loss, at any moment of a run that lasts so long."""
    cards = choose.choice(list(SHARED))
    rank = choose.randrange(cards)
    number = signal.SIGSTOP if rank and choose.random() < 0.2 else signal.SIGKILL
    return Loss(cards, choose.choice(SHARED[cards]), rank, number, choose.uniform(0, longest))


def lose(loss: Loss, output: Path) -> tuple[str, float]:
    """Run, lose a process; at what time that was, and the seconds until all had ended."""
    words = [*SCRIPT, *SCENE, "--gpus", str(loss.cards), "--parallel", loss.how, "--save_path", str(output)]
    state = output.with_suffix(".state.safetensors")
    run = psutil.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    others = processes_of(run, loss.cards - 1)
    deadline = time.monotonic() + loss.after
    while time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.005)
    when = ENDS[2] if output.exists() else ENDS[1] if state.exists() else ENDS[0]
    lost = [run, *others][loss.rank]
    if run.poll() is None and lost.is_running():
        lost.send_signal(loss.signal)
    began = time.monotonic()
    said = run.communicate(timeout=2 * LIMIT)[1].decode().splitlines()
    psutil.wait_procs(others, timeout=LIMIT)
    passed = time.monotonic() - began
    left = [one for one in others if one.is_running()]
    assert not left, f"{len(left)} processes were left"
    assert passed < LIMIT, f"took {passed:.1f} s to end"
    if loss.rank and run.returncode:
        name = f"process {loss.rank + 1} of {loss.cards}"
        assert said and name in said[-1] and run.returncode == 1, f"ended with {run.returncode}: {said[-1:]}"
        assert not any("Traceback" in line for line in said), "showed a traceback"
    return when, passed


def processes_of(run: psutil.Popen, count: int) -> list[psutil.Process]:
    """The processes beside the first one, once they have begun."""
    while len(found := run.children()) < count and run.poll() is None:
        time.sleep(0.005)
    return sorted(found, key=lambda one: one.pid)


def made(output: Path) -> Tensor:
    """The latents of the scene, made on one card, or from what is there."""
    with redirect_stderr(StringIO()) as said, redirect_stdout(StringIO()):
        code = generate([*SCENE, "--save_path", str(output)])
    assert code == 0, said.getvalue()
    return load_file(output)["latents"]


def main() -> None:
    """Lose as many processes as asked, and say what was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    choose, moments, findings, slowest = random.Random(args.seed), Counter[str](), 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        expected = made(Path(folder) / "whole.safetensors")
        begun = time.monotonic()
        lose(Loss(2, "cfg", 0, signal.SIGKILL, 600), Path(folder) / "measured.safetensors")
        longest = time.monotonic() - begun
        for number in range(args.runs):
            loss, output = draw(choose, longest), Path(folder) / f"{number}.safetensors"
            try:
                when, passed = lose(loss, output)
                moments[when], slowest = moments[when] + 1, max(slowest, passed)
                assert torch.equal(made(output), expected), "went on to other latents"
            except AssertionError as error:
                findings += 1
                sys.stdout.write(f"{loss}: {error}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{args.runs - findings} of {args.runs} ended in time and went on to the same latents; ")
    sys.stdout.write(f"the slowest end took {slowest:.1f} s; lost {dict(moments)}\n")
    raise SystemExit(1 if findings else 0)


if __name__ == "__main__":
    main()
