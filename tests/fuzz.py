"""Damaged input of every kind, each case within bounds: `python -m tests.fuzz --runs 20000`.

The system limits the address space of a process and the processor time of a case, and ends what goes beyond. A case may
be accepted or refused in one line; a traceback, a crash, a hang, memory beyond the bound, or anything left on disk is a
finding, with the number by which `--first N --runs 1` repeats it.
"""

from __future__ import annotations

import argparse
import json
import math
import mmap
import os
import platform
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from tests.fuzzed import WEIGHTS, Targets, sound_inputs
from tests.tiny import write_tiny_model

CHUNK = 500
MEMORY = 512 << 20
SECONDS = 5.0
PATIENCE = 120.0
MOST_FINDINGS = 20
STATM = Path("/proc/self/statm")
# Whatever a target may put into its folder.
GIVEN = {"a.toml", "a.json", "a.yaml", "b.json", "list.txt", "full_high_noise.safetensors", "a.safetensors.index.json"}
GIVEN |= {"a.pth", "a.pt", "a.bin", "a.ckpt", "a.state.safetensors", "a.safetensors", "a.mp4", "tokenizer.json"}


@dataclass
class Tally:
    """What came of the cases, by target."""

    cases: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def add(self, other: dict[str, dict[str, float] | list[str]]) -> None:
        """Add what a worker wrote."""
        self.cases.update(other["cases"])  # type: ignore[arg-type]
        self.accepted.update(other["accepted"])  # type: ignore[arg-type]
        for name, seconds in dict(other["slowest"]).items():  # type: ignore[arg-type]
            self.slowest[name] = max(seconds, self.slowest.get(name, 0.0))
        self.findings += list(other["findings"])


def draw(seed: int, number: int) -> tuple[random.Random, str]:
    """The generator and the target of one case."""
    rng = random.Random(f"{seed} {number}")
    return rng, rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]


def one_case(targets: Targets, seed: int, number: int, folder: Path, tally: Tally) -> None:
    """Run one case in an empty folder; what it says about itself goes into the tally."""
    rng, name = draw(seed, number)
    folder.mkdir()
    os.chdir(folder)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + SECONDS) + 1, most))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    start = time.process_time()
    try:
        tally.accepted[name] += getattr(targets, name)(rng, folder)
    except BaseException as error:  # noqa: BLE001 - also the panics of libraries in Rust
        last = traceback.extract_tb(error.__traceback__)[-1]
        tally.findings.append(
            f"{number} {name}: {type(error).__name__}: {str(error)[:300]} ({last.filename}:{last.lineno})"
        )
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    tally.cases[name] += 1
    tally.slowest[name] = max(time.process_time() - start, tally.slowest.get(name, 0.0))
    if left := {path.name for path in folder.iterdir()} - GIVEN:
        tally.findings.append(f"{number} {name}: left {sorted(left)}")
    os.chdir(folder.parent)
    for path in folder.iterdir():
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()


def work(targets: Targets, seed: int, numbers: range, at: mmap.mmap, folder: Path) -> None:
    """A worker: its share of the cases, within limits; what came of them goes into a file."""
    used = int(STATM.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    tally = Tally()
    for number in numbers:
        at[:8] = struct.pack("<q", number)
        one_case(targets, seed, number, folder / f"case{number}", tally)
    text = {name: value for name, value in vars(tally).items()}
    (folder / "tally.json").write_text(json.dumps(text))


def fuzz(runs: int, seed: int, first: int, folder: Path) -> Tally:
    """Run so many cases; stops early after too many findings."""
    torch.set_num_threads(1)  # what a fork inherits of a pool of threads is a lock that nobody will open
    with redirect_stdout(sys.stderr):
        targets = sound_inputs(write_tiny_model(folder / "model"), folder)
    at, tally, number, start = mmap.mmap(-1, 8), Tally(), first, time.monotonic()
    while number < first + runs and len(tally.findings) < MOST_FINDINGS:
        numbers = range(number, min(number + CHUNK, first + runs))
        place = Path(tempfile.mkdtemp(dir=folder))
        child = os.fork()
        if not child:
            try:
                work(targets, seed, numbers, at, place)
                os._exit(0)
            finally:
                os._exit(99)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        reached = struct.unpack("<q", at[:8])[0]
        if (place / "tally.json").exists():
            tally.add(json.loads((place / "tally.json").read_text()))
            number = numbers.stop
        else:
            how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
            tally.findings.append(f"{reached} {draw(seed, reached)[1]}: the process ended by {how}")
            number = reached + 1
        passed = time.monotonic() - start
        rate = f"{(number - first) / passed:.0f} a second"
        sys.stderr.write(f"{number - first} of {runs}, {len(tally.findings)} findings, {rate}\n")
    return tally


def main() -> None:
    """Run as many as asked, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = fuzz(args.runs, args.seed, args.first, Path(folder))
    say = sys.stdout.write
    total = sum(tally.cases.values())
    say(f"{total} cases from {args.first} of seed {args.seed}, {len(tally.findings)} findings; each within ")
    say(f"{MEMORY >> 20} MiB of memory beyond the libraries and {SECONDS:g} s of processor time\n")
    say(f"python {platform.python_version()}, torch {version('torch')}, tokenizers {version('tokenizers')}\n")
    say(f"{'target':17s} {'cases':>6s} {'refused':>8s} {'slowest':>8s}\n")
    for name, count in tally.cases.most_common():
        say(f"{name:17s} {count:6d} {count - tally.accepted[name]:8d} {tally.slowest[name]:6.2f} s\n")
    for finding in tally.findings:
        say(f"{finding}\n")
    if tally.findings:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
