"""Makes a long list of videos in one process: `python -m tests.soak --scenes 500`.

One scene in the middle does not parse, and the next one fails while it runs. What must hold: both are told and passed
over, every other video is whole, the memory of the process does not grow once it has made ten, and `--resume` makes
the two when they are mended and touches no other.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path

import holocine_ext.cli
import wan2.cli.main
from tests.tiny import MODELS, QUICK, model_flags
from wan2.events import Event, Finished
from wan2.plan.outputs import OutputPaths
from wan2.run.video_io import read_metadata, read_video

WARM = 10
# Some 20 MB come and go: the least of so many videos is held against the least of as many.
LEAST_OF = 5
# Of the list: small, so that many waves follow each other.
WAVE = 3
BOUND_MB = 20.0
LENGTHS = (5, 9, 13)
STATUS = Path("/proc/self/status")


def resident_mb() -> float:
    """Memory of this process that is in RAM, in MB, without the pages of files: these the system takes as it likes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024 / 1e6


def write_scene(folder: Path, number: int) -> str:
    """A scene like no other of the list; its line."""
    count = 1 + number % 2
    caption = f"Wide shot of [character1] moving right, take {number}."
    shots = [{"caption": caption + " By day." * part} for part in range(count)]
    board = {"global_caption": "The scene is a meadow. [character1] is a red ball.", "shots": shots, "seed": number}
    (folder / f"{number}.json").write_text(json.dumps(board))
    return f"{number}.json --f {LENGTHS[number % len(LENGTHS)]}"


def run(words: list[str], blocked: tuple[str, Path] | None = None) -> tuple[int, list[float]]:
    """Run the command line: its exit code, and the resident memory after every video in MB.

    blocked: the title of a scene, and the record in whose place a folder appears while it is made.
    """
    memory: list[float] = []

    class Measuring(wan2.cli.main.Console):
        def event(self, event: Event, title: str = "") -> None:
            super().event(event, title)
            if isinstance(event, Finished):
                memory.append(resident_mb())
            if blocked is not None and title == blocked[0] and not blocked[1].exists():
                blocked[1].mkdir()

    usual, wan2.cli.main.Console = wan2.cli.main.Console, Measuring
    try:
        with redirect_stdout(sys.stderr):
            return holocine_ext.cli.main(words), memory
    finally:
        wan2.cli.main.Console = usual


def check(paths: OutputPaths, number: int) -> None:
    """A video is whole, with everything beside it and nothing else."""
    frames = read_video(paths.video)
    record = json.loads(paths.record.read_text())
    found = {path.name for path in paths.folder.glob(f"*{paths.name}*")}
    if len(frames) != LENGTHS[number % len(LENGTHS)] or record["options"]["seed"] != number:
        raise AssertionError(f"{paths.video}: {len(frames)} frames of seed {record['options']['seed']}")
    if json.loads(read_metadata(paths.video)["comment"])["options"] != record["options"]:
        raise AssertionError(f"{paths.video}: another record in it than beside it")
    if found != {f"{paths.name}{ending}" for ending in (".mp4", ".safetensors", ".json", "_sheet.png")}:
        raise AssertionError(f"{paths.name}: left {sorted(found)}")


def soak(scenes: int, model: str, folder: Path) -> list[float]:
    """Make so many, check all; the memory after each in MB.

    Raises:
        AssertionError: the first thing that does not hold.
    """
    boards, out, broken = folder / "scenes", folder / "out", scenes // 2
    boards.mkdir()
    (boards / "list.txt").write_text("\n".join(write_scene(boards, number) for number in range(1, scenes + 1)))
    whole = (boards / f"{broken}.json").read_text()
    (boards / f"{broken}.json").write_text(whole[:-1])
    names = {number: OutputPaths(out, f"list-{number:03d}") for number in range(1, scenes + 1)}
    words = [*model_flags(model, folder / "model"), *[word for word in QUICK if word not in ("--seed", "7")]]
    words += ["--from_file", str(boards / "list.txt"), "--save_path", str(out), "--wave", str(WAVE)]
    code, memory = run(words, (f"list.txt:{broken + 1}", names[broken + 1].record))
    failed = {broken, broken + 1}
    if (code, len(memory)) != (1, scenes - len(failed)):
        raise AssertionError(f"exit code {code} after {len(memory)} of {scenes} videos")
    for number in names.keys() - failed:
        check(names[number], number)
    before = {names[number].video: names[number].video.stat().st_mtime_ns for number in names.keys() - failed}
    (boards / f"{broken}.json").write_text(whole)
    names[broken + 1].record.rmdir()
    code, again = run([*words, "--resume"])
    if (code, len(again)) != (0, len(failed)) or any(path.stat().st_mtime_ns != at for path, at in before.items()):
        raise AssertionError(f"--resume ended with {code} and made {len(again)}, not {len(failed)}")
    for number in failed:
        check(names[number], number)
    return memory


def main() -> None:
    """Make as many as asked, and say what the memory did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        memory = soak(args.scenes, args.model, Path(folder))
    grown = min(memory[-LEAST_OF:]) - min(memory[WARM - LEAST_OF : WARM])
    say: Callable[[str], int] = sys.stdout.write
    say(
        f"\n{args.scenes} scenes of {args.model} in one process: all whole but the 2 broken ones, which --resume made\n"
    )
    say(f"python {platform.python_version()}, torch {version('torch')}, av {version('av')}, {platform.machine()}\n")
    steps = sorted({1, WARM, *range(50, len(memory), 50), len(memory)})
    say("after video " + " ".join(f"{number:6d}" for number in steps) + "\n")
    say("resident MB " + " ".join(f"{memory[number - 1]:6.1f}" for number in steps) + "\n")
    highest = max(memory[WARM:]) - memory[WARM - 1]
    say(f"from the tenth to the last, the least of {LEAST_OF}: {grown:+.1f} MB (highest {highest:+.1f} MB)\n")
    if grown > BOUND_MB:
        raise SystemExit(f"grew by more than {BOUND_MB} MB")


if __name__ == "__main__":
    main()
