"""Kills a run at random moments and lets it go on: `python -m tests.kill_runs --runs 100`.

The run is a tiny one from a real command line. After every `kill -9` the same command line with `--resume` is started
again, killed at another moment or left to end. What must hold: nothing half written under a final name, and in the end
the latents and the video of a run that nobody killed.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.tiny import QUICK, TinyModel, write_tiny_model
from wan2.loading.header import read_header
from wan2.video_io import read_video

ROOT = Path(__file__).parents[1]
WORDS = ["--infer_steps", "30", "--flow_shift", "5", "--sample_solver", "unipc", "--save_every", "1"]
WORDS += ["--output_type", "both", "--video_length", "17", "--no_metadata"]
SCENE = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "--shot_cut_frames", "9"]
ENDINGS = {".mp4", ".safetensors", "_sheet.png"}


@dataclass(frozen=True)
class Killer:
    """One command line, and what a run of it makes when nobody kills it."""

    tiny: TinyModel
    folder: Path

    def start(self, name: str) -> subprocess.Popen[bytes]:
        script = [sys.executable, str(ROOT / "holocine_generate_video.py")]
        output = ["--resume", "--save_path", str(self.folder / f"{name}.mp4")]
        words = [*script, *self.tiny.flags(), *QUICK, *WORDS, *SCENE, *output]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self, name: str) -> None:
        process = self.start(name)
        error = process.communicate()[1]
        if process.returncode:
            raise AssertionError(f"{name} ended with {process.returncode}: {error.decode()[-2000:]}")

    def kill(self, name: str, after: float) -> str:
        """Kill a run `after` seconds; the moment it was in, by what lies there."""
        process = self.start(name)
        time.sleep(after)
        process.kill()
        process.communicate()
        return self.check(name)

    def check(self, name: str) -> str:
        """What lies there, every file under a final name being whole."""
        found = {path.name.removeprefix(name) for path in self.folder.glob(f"{name}*")}
        parts = {path.name.removeprefix(f".{name}") for path in self.folder.glob(f".{name}*.part*")}
        if ".mp4" in found and len(read_video(self.folder / f"{name}.mp4")) != 17:
            raise AssertionError(f"{name}: half a video under its final name")
        for ending in found & {".safetensors", ".state.safetensors"}:
            read_header(self.folder / f"{name}{ending}")
        return " ".join([*sorted(found), *(f"(part {part})" for part in sorted(parts))]) or "nothing"

    def compare(self, name: str, whole: str) -> None:
        """The same bytes of latents and the same frames, and nothing else left."""
        for ending in sorted(ENDINGS - {".mp4"}):
            if (self.folder / f"{name}{ending}").read_bytes() != (self.folder / f"{whole}{ending}").read_bytes():
                raise AssertionError(f"{name}{ending} is another than {whole}{ending}")
        if not (read_video(self.folder / f"{name}.mp4") == read_video(self.folder / f"{whole}.mp4")).all():
            raise AssertionError(f"{name}.mp4 has other frames than {whole}.mp4")
        left = {
            path.name.removeprefix(name) for path in self.folder.iterdir() if path.name.lstrip(".").startswith(name)
        }
        if left != ENDINGS:
            raise AssertionError(f"{name} left {sorted(left)}")


def kill_runs(runs: int, seed: int, folder: Path) -> Counter[str]:
    """Kill so many runs; how often each moment was met. Raises `AssertionError` for the first that does not hold."""
    killer = Killer(write_tiny_model(folder / "model"), folder / "out")
    killer.folder.mkdir()
    killer.finish("whole")
    start = time.monotonic()
    killer.finish("timed")
    lasts = time.monotonic() - start
    choose, moments = random.Random(seed), Counter[str]()
    for number in range(runs):
        name = f"run{number:03d}"
        # The first second and more is spent on loading libraries, where there is nothing to lose.
        moments[killer.kill(name, choose.uniform(0.3, 1.05) * lasts)] += 1
        killer.finish(name)
        killer.compare(name, "whole")
        for path in killer.folder.glob(f"{name}*"):
            path.unlink()
    return moments


def main() -> None:
    """Kill as often as asked, and say what was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        moments = kill_runs(args.runs, args.seed, Path(folder))
    sys.stdout.write(f"{args.runs} of {args.runs} runs went on to the same bytes; killed with this in the folder:\n")
    sys.stdout.writelines(f"{count:5d}  {moment}\n" for moment, count in moments.most_common())


if __name__ == "__main__":
    main()
