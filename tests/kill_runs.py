"""Kills a run at random moments and lets it go on: `python -m tests.kill_runs --runs 100`.

The run is one of the miniature, or of the tests' own model of random weights. After every `kill -9` the same command
line with `--resume` is started again and left to end.

What must hold: nothing half written under a final name, and in the end the latents and the video of a run that nobody
killed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import holocine_ext.cli
import holocine_ext.run  # noqa: F401 - loads what a run needs
from tests.tiny import MODELS, QUICK, model_flags
from wan2.loading.header import read_header
from wan2.video_io import read_video

WORDS = ["--infer_steps", "30", "--flow_shift", "5", "--sample_solver", "unipc", "--save_every", "1"]
WORDS += ["--output_type", "both", "--video_length", "17", "--no_metadata"]
SCENE = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "--shot_cut_frames", "9"]
# From which file on a run is killed, and within which share of the time that a whole run takes.
MOMENTS = [("", 1.0), ("{name}.state.safetensors", 0.9), (".{name}*.part*", 0.02), (".{name}*.part.mp4", 0.4)]
MOMENTS += [("{name}.safetensors", 0.4), ("{name}.mp4", 0.02)]
ENDINGS = {".mp4", ".safetensors", "_sheet.png"}


@dataclass(frozen=True)
class Killer:
    """One command line. Its libraries are loaded already: a run is a fork, so that its moments are those that count."""

    model: list[str]
    folder: Path

    def start(self, name: str) -> int:
        """Start a run; its process."""
        output = ["--resume", "--save_path", str(self.folder / f"{name}.mp4")]
        child = os.fork()
        if child:
            return child
        log = os.open(self.folder.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            os._exit(holocine_ext.cli.main([*self.model, *QUICK, *WORDS, *SCENE, *output]))
        finally:
            os._exit(99)

    def finish(self, name: str) -> None:
        """Run to the end."""
        status = os.waitpid(self.start(name), 0)[1]
        if status:
            raise AssertionError(f"{name} ended with {status}: {(self.folder.parent / 'log').read_text()[-2000:]}")

    def kill(self, name: str, awaited: str, after: float) -> str:
        """Kill a run `after` seconds from the moment a file of that ending is there; what then lies there."""
        child = self.start(name)
        while awaited and not list(self.folder.glob(awaited.format(name=name))):
            if os.waitpid(child, os.WNOHANG)[0]:
                return self.check(name)
            time.sleep(0.002)
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
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


def kill_runs(runs: int, seed: int, model: str, folder: Path) -> Counter[str]:
    """Kill so many runs; how often each moment was met. Raises `AssertionError` for the first that does not hold."""
    killer = Killer(model_flags(model, folder / "model"), folder / "out")
    killer.folder.mkdir()
    killer.finish("whole")
    start = time.monotonic()
    killer.finish("timed")
    lasts = time.monotonic() - start
    choose, moments = random.Random(seed), Counter[str]()
    for number in range(runs):
        name = f"run{number:03d}"
        awaited, share = choose.choice(MOMENTS)
        moments[killer.kill(name, awaited, choose.uniform(0, share) * lasts)] += 1
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
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        moments = kill_runs(args.runs, args.seed, args.model, Path(folder))
    sys.stdout.write(f"{args.runs} of {args.runs} runs went on to the same bytes; killed with this in the folder:\n")
    sys.stdout.writelines(f"{count:5d}  {moment}\n" for moment, count in moments.most_common())


if __name__ == "__main__":
    main()
