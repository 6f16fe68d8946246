"""Lists made in waves: `python -m tests.waves --scenes 50 --wave 10` counts what is loaded, compares every file with
that of a run of its own, and prints the times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import holocine_ext.cli
from tests.counting import Counts, counted

PLACES = ("a meadow", "a beach", "a desert", "a snowfield", "a room")
SETTINGS = ("--model", "nano", "--output_type", "both", "--no_contact_sheet")
SIZE = ("--video_size", "32", "32", "--infer_steps", "3")
KINDS = (".mp4", ".safetensors")


@dataclass
class Report:
    """What a list came to.

    loaded: how often each model was loaded. different: names of files that are not those of a run of their own.
    seconds: wall time of the list. work: of it, denoising and decoding. single: wall time of all single runs.
    """

    code: int
    counts: Counts
    loaded: Counter[str]
    different: list[str] = field(default_factory=list)
    seconds: float = 0.0
    work: float = 0.0
    single: float = 0.0


def write_list(folder: Path, scenes: int) -> Path:
    """A list of scenes, every one of which has another text or another seed."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(scenes):
        name = f"scene{number % len(PLACES)}.json"
        place = PLACES[number % len(PLACES)]
        scene = {
            "global_caption": f"The scene is {place} with a tree. [character1] is a red ball wearing a hat.",
            "num_frames": 9,
            "shots": [{"caption": "Wide shot of [character1]."}, {"caption": "Close-up of [character1]."}],
        }
        (folder / name).write_text(json.dumps(scene), encoding="utf-8")
        lines.append(f"{name} --d {number}\n")
    path = folder / "list.txt"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def make_list(path: Path, out: Path, wave: int) -> Report:
    """The list made in waves, counted."""
    begin = time.perf_counter()
    words = ["--from_file", str(path), "--save_path", str(out), "--wave", str(wave), *SETTINGS, *SIZE]
    with counted() as counts:
        code = holocine_ext.cli.main(words)
    report = Report(code, counts, counts.loaded)
    report.seconds = time.perf_counter() - begin
    for record in sorted(out.glob("*.json")):
        spent = json.loads(record.read_text(encoding="utf-8"))["seconds"]
        report.work += spent["denoise"] + spent["decode"]
    return report


def make_alone(path: Path, out: Path) -> float:
    """Every scene of the list in a run of its own; the seconds that took."""
    begin = time.perf_counter()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name, _, seed = line.split()
        save = out / f"list-{number:03d}.mp4"
        words = ["--storyboard", str(path.parent / name), "--seed", seed, "--save_path", str(save), *SETTINGS, *SIZE]
        if holocine_ext.cli.main(words):
            raise AssertionError(f"{line} failed")
    return time.perf_counter() - begin


def compare(one: Path, other: Path) -> list[str]:
    """The names of videos and latents that are not the same in both folders, metadata left out."""
    from wan2.run.latents import load_latents
    from wan2.run.video_io import read_video

    names = sorted({path.name for folder in (one, other) for path in folder.iterdir() if path.suffix in KINDS})
    if not names:
        return ["nothing was made"]
    different = []
    for name in names:
        read = read_video if name.endswith(".mp4") else load_latents
        same = (one / name).is_file() and (other / name).is_file() and (read(one / name) == read(other / name)).all()
        different += [] if same else [name]
    return different


def main(words: Sequence[str]) -> int:
    """The whole campaign; 0 when everything is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--wave", type=int, default=10)
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["WAN2_CACHE"] = str(folder / "cache")
        path = write_list(folder / "list", args.scenes)
        report = make_list(path, folder / "waves", args.wave)
        again = make_list(path, folder / "again", args.wave)
        report.single = make_alone(path, folder / "alone")
        report.different = compare(folder / "waves", folder / "alone")
    waves = -(-args.scenes // args.wave)
    lines = [
        f"{args.scenes} scenes, waves of {args.wave}: {waves} waves",
        f"loaded: {dict(report.loaded)}",
        f"once more, texts kept: {dict(again.loaded)}",
        f"{len(report.different)} files differ from those of single runs {report.different[:5]}",
        f"{report.seconds:.1f} s in waves, {report.work:.1f} s of it denoising and decoding",
        f"{report.single:.1f} s one by one in one process",
    ]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    most = max(count for name, count in report.loaded.items())
    return int(report.code or again.code or bool(report.different) or most > waves or again.loaded["t5"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
