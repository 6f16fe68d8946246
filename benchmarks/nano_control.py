"""Does the miniature do what captions ask? `python -m benchmarks.nano_control` makes unseen scenes and reads pixels.

Every scene goes through `holocine_generate_video.py` as a storyboard file, one process a variant; the facts are read
off the decoded mp4 by `holocine_ext.evaluate.nano_world.read`. The row `drawn` is the ceiling: the world's own drawings
through the same reader.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from holocine_ext.evaluate.nano_world.captions import FACTS, describe, facts_of
from holocine_ext.evaluate.nano_world.read import find_cuts, read_shot
from holocine_ext.evaluate.nano_world.world import Scene, draw, random_cuts, random_scene
from wan2.run.video_io import read_video

ROOT = Path(__file__).parents[1]
HELD_OUT_SEED = 20_000_000
NUM_FRAMES = 33


@dataclass(frozen=True)
class Score:
    """Shares of one row of the table; `hat` is how often neighbouring shots agree on it."""

    row: str
    cuts: float
    facts: dict[str, float]
    hat: float


def held_out(count: int) -> list[Scene]:
    """Scenes of one to three shots from a seed that training never uses."""
    scenes = []
    for i in range(count):
        rng = Random(HELD_OUT_SEED + i)
        scenes.append(random_scene(rng, NUM_FRAMES, random_cuts(rng, NUM_FRAMES, 1 + i % 3)))
    return scenes


def write_storyboards(scenes: Sequence[Scene], folder: Path) -> Path:
    """A storyboard file for every scene, and the list of them that `--from_file` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, scene in enumerate(scenes):
        captions = describe(Random(HELD_OUT_SEED + i), scene)
        document: dict[str, object] = {"num_frames": scene.num_frames, "fps": 8, "seed": i}
        if captions.global_caption is None:
            document["prompt"] = captions.shots[0]
        else:
            document["global_caption"] = captions.global_caption
            starts = [None, *scene.cuts]
            document["shots"] = [
                {"caption": caption} | ({"cut_frame": start} if start else {})
                for caption, start in zip(captions.shots, starts, strict=True)
            ]
        paths.append(folder / f"scene_{i:03d}.json")
        paths[-1].write_text(json.dumps(document, indent=1, ensure_ascii=False))
    listing = folder / "scenes.txt"
    listing.write_text("".join(f"{path.resolve()}\n" for path in paths))
    return listing


def generate(listing: Path, variant: str, folder: Path, options: Sequence[str]) -> list[Path]:
    """Run the script on every storyboard that has no video yet; the videos in order."""
    script = [sys.executable, str(ROOT / "holocine_generate_video.py"), "--model", "nano", "--variant", variant]
    folder.mkdir(parents=True, exist_ok=True)
    command = [*script, "--from_file", str(listing), "--save_path", str(folder), "--no_contact_sheet"]
    subprocess.run([*command, "--resume", *options], check=True, stdout=subprocess.DEVNULL)
    return sorted(folder.glob("*.mp4"))


def score(row: str, scenes: Sequence[Scene], films: Sequence[NDArray[np.uint8]]) -> Score:
    """Compare what is seen in the films, uint8 [T, 64, 64, 3], with what the scenes asked for."""
    cuts_asked = cuts_met = 0
    right = dict.fromkeys(FACTS, 0)
    shots = pairs = agreeing = 0
    for scene, film in zip(scenes, films, strict=True):
        found = find_cuts(film)
        cuts_asked += len(scene.cuts)
        cuts_met += sum(any(abs(cut - at) <= 1 for at in found) for cut in scene.cuts)
        readings = [read_shot(film[shot.start : shot.end]) for shot in scene.shots]
        for shot, reading in zip(scene.shots, readings, strict=True):
            shots += 1
            for fact, asked in facts_of(scene, shot).items():
                right[fact] += getattr(reading, fact) == asked
        pairs += len(readings) - 1
        agreeing += sum(a.hat == b.hat for a, b in pairwise(readings))
    return Score(row, cuts_met / cuts_asked, {fact: n / shots for fact, n in right.items()}, agreeing / pairs)


def table(scores: Sequence[Score]) -> str:
    """The scores as Markdown."""
    names = ["cut within a frame", *FACTS, "hat kept"]
    lines = ["| row | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for s in scores:
        values = [s.cuts, *s.facts.values(), s.hat]
        lines.append(f"| {s.row} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(lines)


def main() -> None:
    """Make, read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("out/nano_control"))
    parser.add_argument("--variants", nargs="+", default=["full", "sparse"])
    args, options = parser.parse_known_args()
    scenes = held_out(args.scenes)
    listing = write_storyboards(scenes, args.out)
    scores = [score("drawn", scenes, [draw(scene) for scene in scenes])]
    started = time.monotonic()
    for variant in args.variants:
        videos = generate(listing, variant, args.out / variant, options)
        scores.append(score(variant, scenes, [read_video(path) for path in videos]))
    seconds = time.monotonic() - started
    machine = platform.processor() or platform.machine()
    text = (
        f"{len(scenes)} held-out scenes a row, {sum(len(scene.shots) for scene in scenes)} shots, "
        f"{NUM_FRAMES} frames at 64x64; {machine}, {seconds:.0f} s\n\n{table(scores)}\n"
    )
    (args.out / "table.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
