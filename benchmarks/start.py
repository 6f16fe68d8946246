"""How soon does a run begin? `python -m benchmarks.start`: from the start of the process to the first denoising step.

The step is known by its state, which `--save_every 1` writes as soon as it is taken.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.table import columns, heading

ROOT = Path(__file__).parents[1]
SCRIPT = [sys.executable, str(ROOT / "holocine_generate_video.py")]
SCENE = ["--model", "nano", "--storyboard", str(ROOT / "examples" / "nano_three_shots.toml")]
LOOKED_EVERY = 0.005
MARKS = {"--help": 0.3, "--dry_run": 0.3, "first step": 10.0}


def answered(*words: str) -> float:
    """Seconds that a command takes which makes nothing."""
    started = time.perf_counter()
    subprocess.run([*SCRIPT, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_step() -> float:
    """Seconds until the first step is taken; the run is then ended."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*SCENE, "--save_every", "1", "--save_path", str(Path(folder) / "a.mp4")]
        state, started = Path(folder) / "a.state.safetensors", time.perf_counter()
        with subprocess.Popen([*SCRIPT, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not state.exists():
                if process.poll() is not None:
                    raise RuntimeError("the run ended before its first step was seen")
                time.sleep(LOOKED_EVERY)
            took = time.perf_counter() - started
            process.terminate()
    return took


def main() -> int:
    """Measure each way in turn, and print a row a way; 1 when a mark is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.start", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    ways = {"--help": lambda: answered("--help"), "--dry_run": lambda: answered(*SCENE, "--dry_run")}
    ways["first step"] = first_step
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            seconds[name].append(way())
    found = {name: median(values) for name, values in seconds.items()}
    rows = [["nano, seconds from the start of the process", "mark", "measured", "slowest", "ratio"]]
    rows += [
        [name, f"{MARKS[name]:.1f}", f"{took:.2f}", f"{max(seconds[name]):.2f}", f"{took / MARKS[name]:.2f}"]
        for name, took in found.items()
    ]
    sys.stdout.write(heading("benchmarks.start", sys.argv[1:]) + columns(rows))
    return int(any(took > MARKS[name] for name, took in found.items()))


if __name__ == "__main__":
    sys.exit(main())
