"""Is every refusal as fast as `--help`? `python -m benchmarks.refusals` starts the real script once for each bad input.

Counted is the processor time of the whole process, start of Python included, which other work on the machine disturbs
little; a `--help` of the same script goes after every tenth. Each process also says which heavy libraries it loaded.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.test_bad_inputs import HEAVY, ROWS, words_of, write_files
from tests.tiny import TinyModel, write_tiny_model

ROOT = Path(__file__).parents[1]
EVERY = 10
# What a bad input is given by: the first of these that is among its words.
WAYS = {
    "--storyboard": "storyboard",
    "--from_file": "list",
    "--resume": "state or record",
    "--latent_path": "saved latents",
    "--tokenizer": "tokenizer",
    "--dit_high_noise": "checkpoint",
    "--dit_low_noise": "checkpoint",
    "--t5": "checkpoint",
    "--vae": "checkpoint",
}
# Runs the script of the first word, and says at its end what it loaded.
WATCHED = f"""
import atexit, runpy, sys
sys.argv = sys.argv[1:]
atexit.register(lambda: sys.stderr.write(f"\\n{{sorted(sys.modules.keys() & {set(HEAVY)!r})}}"))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def way_of(row: dict[str, Any]) -> str:
    """The line of the table in which an input counts."""
    return next((name for flag, name in WAYS.items() if flag in row["words"]), "flags and captions")


def seconds(program: str, words: list[str], folder: Path) -> tuple[float, int, str]:
    """Processor time of one process, its exit code, and what it loaded."""
    script = [sys.executable, "-c", WATCHED, str(ROOT / f"{program}_generate_video.py")]
    given = [os.fsencode(word) if isinstance(word, str) else word for word in (*script, *words)]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(given, cwd=folder, stdout=subprocess.DEVNULL, stderr=told, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        return used.ru_utime + used.ru_stime, process.returncode, told.read().decode().splitlines()[-1]


def measure(tiny: TinyModel, rows: list[dict[str, Any]], folder: Path) -> dict[str, list[float]]:
    """Seconds by line of the table. Raises `AssertionError` for an input that is not refused, or not lightly."""
    found: dict[str, list[float]] = defaultdict(list)
    for number, row in enumerate(rows):
        place = folder / str(number)
        place.mkdir()
        write_files(row, place)
        taken, code, loaded = seconds(row["program"], words_of(row, tiny), place)
        if code != 2 or loaded != "[]":
            raise AssertionError(f"{row['words']}: exit code {code}, loaded {loaded}")
        found[way_of(row)].append(taken)
        if number % EVERY == 0:
            found["--help"].append(seconds(row["program"], ["--help"], place)[0])
    return found


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only every so many inputs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = measure(write_tiny_model(folder / "model"), ROWS[:: args.every], folder)
    cores, libraries = os.cpu_count(), ", ".join(HEAVY)
    sys.stdout.write(f"machine    {platform.machine()}, {cores} cores, Python {platform.python_version()}\n")
    sys.stdout.write(
        f"inputs     {sum(map(len, found.values())) - len(found['--help'])} refused, none loads {libraries}\n\n"
    )
    sys.stdout.write(f"{'seconds of processor time':26s} {'runs':>5s} {'median':>7s} {'most':>7s}\n")
    for way, times in sorted(found.items(), key=lambda item: statistics.median(item[1])):
        sys.stdout.write(f"{way:26s} {len(times):5d} {statistics.median(times):7.3f} {max(times):7.3f}\n")


if __name__ == "__main__":
    main()
