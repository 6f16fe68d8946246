"""Trainings that are killed at any moment go on to the same bits: `python -m benchmarks.teaching_kills --kills 30`.

One training of the tiny model runs to its end. Then others of the same settings are killed (SIGKILL) again and again at
random moments, and each goes on by `--resume`, until it ends; its files are compared with those of the unbroken one.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.holocine_ext.teach.clips import contents, words, write_clips
from tests.tiny import TinyModel, write_tiny_model

ROOT = Path(__file__).parents[1]
MORE = ["--steps", "60", "--batch", "2", "--save_every", "1", "--ema", "0.9"]


def command(folder: Path, name: str, tiny: TinyModel) -> list[str]:
    """A training of the name."""
    script = [sys.executable, str(ROOT / "holocine_train_lora.py")]
    return [*script, *words(folder / "data", folder / name, tiny, *MORE), "--resume"]


def files(folder: Path, name: str) -> list[object]:
    """What a training wrote."""
    return [contents(folder / f"{name}_{noise}_noise.safetensors") for noise in ("high", "low")]


def killed(folder: Path, name: str, tiny: TinyModel, rng: random.Random, longest: float) -> int:
    """Kill a training until it ends before its time is up; how often it was killed."""
    kills = 0
    while True:
        process = subprocess.Popen(command(folder, name, tiny), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if process.wait(timeout=rng.uniform(0.3, longest)) == 0:
                return kills
            raise SystemExit(f"{name}: failed with {process.returncode}")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            longest *= 1.02  # slow machines come to an end, too


def main() -> None:
    """Kill, compare, say how many went on to the same bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    args = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tiny = write_tiny_model(folder / "model")
        write_clips(folder / "data")
        begin = time.monotonic()
        subprocess.run(command(folder, "whole", tiny), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        longest = time.monotonic() - begin
        kills = trainings = same = 0
        while kills < args.kills:
            trainings += 1
            kills += killed(folder, f"killed{trainings}", tiny, rng, longest)
            same += files(folder, f"killed{trainings}") == files(folder, "whole")
        sys.stdout.write(f"{kills} kills in {trainings} trainings; {same} of {trainings} ended in the same bits\n")


if __name__ == "__main__":
    main()
