"""Shots made anew beside held ones, edited, and added: does the new shot fit? `python -m benchmarks.direct`.

Held-out scenes of three shots are made by the miniature as takes. Then, by storyboards of which shots come from takes:
one shot is made anew (`reshoot`), made anew in part with its light turned about (`edit` at a strength), or two more
follow (`longer`). Facts are read off the frames. The hat is named by no caption: a new shot can have it from held ones
alone. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks.table import heading
from holocine_ext.evaluate.nano_world.captions import Captions, describe, facts_of
from holocine_ext.evaluate.nano_world.read import find_cuts, read_shot
from holocine_ext.evaluate.nano_world.world import Scene, random_cuts, random_scene
from holocine_ext.evaluate.result import share
from wan2.run.video_io import read_video

ROOT = Path(__file__).parents[1]
SEED = 40_000_000
SHOTS, FRAMES, LONGER_FRAMES = 3, 33, 57
STRENGTHS = (0.6, 0.8)
Film = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """A scene, its words, and which of its shots (from 0) are made beside the others. turned: of these the light is."""

    scene: Scene
    words: Captions
    made: tuple[int, ...]
    strength: float | None = None


@dataclass
class Tally:
    """How often something held, out of how often."""

    counts: dict[str, list[bool]] = field(default_factory=dict)

    def add(self, name: str, holds: bool) -> None:
        self.counts.setdefault(name, []).append(bool(holds))

    def line(self) -> str:
        cells = []
        for name, found in self.counts.items():
            one = share(found)
            cells.append(f"{name} {one.mean:.3f} [{one.low:.3f}, {one.high:.3f}] of {one.count}")
        return "  ".join(cells)


def takes(count: int) -> list[Case]:
    """Scenes of three shots that no training used."""
    return [Case(*_drawn(number, SHOTS, FRAMES), made=tuple(range(SHOTS))) for number in range(count)]


def _drawn(number: int, shots: int, frames: int) -> tuple[Scene, Captions]:
    rng = Random(SEED + number)
    scene = random_scene(rng, frames, random_cuts(rng, frames, shots))
    return scene, describe(Random(SEED + number), scene)


def reshoot(case: Case, number: int) -> Case:
    """One shot of a take is made anew."""
    return replace(case, made=(number % SHOTS,))


def edit(case: Case, number: int, strength: float) -> Case:
    """One shot of a take is made anew in part, at night in the place of by day, or the reverse."""
    made = number % SHOTS
    old = case.scene.shots[made]
    shot = replace(old, light="day" if old.light == "night" else "night")
    shots = tuple(shot if place == made else other for place, other in enumerate(case.scene.shots))
    scene = replace(case.scene, shots=shots)
    told = describe(Random(SEED + number), scene).shots[made]
    words = replace(case.words, shots=tuple(told if p == made else w for p, w in enumerate(case.words.shots)))
    return Case(scene, words, (made,), strength)


def longer(case: Case, number: int) -> Case:
    """Two shots follow, of the same characters in the same place."""
    rng, shots = Random(SEED + number), list(case.scene.shots)
    for start in range(FRAMES, LONGER_FRAMES, 12):
        other = random_scene(rng, 12, []).shots[0]
        light = "day" if shots[-1].light == "night" else "night"
        shots.append(replace(other, start=start, end=start + 12, light=light, who=shots[start % SHOTS].who))
    scene = replace(case.scene, shots=tuple(shots))
    told = describe(Random(SEED + number), scene).shots[SHOTS:]  # the same draws, so the same form of caption
    words = replace(case.words, shots=(*case.words.shots, *told))
    return Case(scene, words, tuple(range(SHOTS, len(shots))))


def board(case: Case, number: int, take: Path | None) -> dict[str, Any]:
    """The storyboard of a case; its other shots come from the take."""
    shots: list[dict[str, Any]] = []
    for place, (shot, caption) in enumerate(zip(case.scene.shots, case.words.shots, strict=True)):
        if place not in case.made:
            shots.append({"from": f"{take}#{place + 1}"})
        elif case.strength is not None:
            shots.append({"from": f"{take}#{place + 1}", "strength": case.strength, "caption": caption})
        else:
            shots.append({"caption": caption, "frames": shot.end - shot.start})
    return {"global_caption": case.words.global_caption, "fps": 8, "seed": number + (take is not None), "shots": shots}


def film(cases: Sequence[Case], folder: Path, options: Sequence[str], of: Sequence[Path] | None = None) -> list[Path]:
    """Make every case that has no video yet; the videos in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases):
        take = of[number].resolve() if of is not None else None
        (folder / f"{number:03d}.json").write_text(json.dumps(board(case, number, take)))
    listing = folder / "scenes.txt"
    listing.write_text("".join(f"{number:03d}.json\n" for number in range(len(cases))))
    script = [sys.executable, str(ROOT / "holocine_generate_video.py"), "--model", "nano", "--no_contact_sheet"]
    output = ["--from_file", str(listing), "--save_path", str(folder / "out"), "--resume", "--quiet"]
    subprocess.run([*script, *output, *options], check=True, stdout=subprocess.DEVNULL)
    return sorted((folder / "out").glob("*.mp4"))


def judge(case: Case, shown: Film, before: Film | None, tally: Tally) -> None:
    """Hold a film against its scene; `before` is that of its take."""
    scene = case.scene
    readings = [read_shot(shown[shot.start : shot.end]) for shot in scene.shots]
    others = [reading.hat for place, reading in enumerate(readings) if place not in case.made] or [readings[0].hat]
    found = find_cuts(shown)
    for cut in scene.cuts:
        tally.add("cuts", any(abs(cut - at) <= 1 for at in found))
    for place in case.made:
        reading, shot = readings[place], scene.shots[place]
        if before is not None or place:
            tally.add("hat", reading.hat == max(set(others), key=others.count))
        for fact, asked in facts_of(scene, shot).items():
            tally.add("facts", getattr(reading, fact) == asked)
        if case.strength is not None and before is not None:
            old = read_shot(before[shot.start : shot.end])
            tally.add("light", reading.light == shot.light)
            tally.add("framing", reading.framing == old.framing)
        elif before is not None and shot.end <= len(before):
            tally.add("differs", psnr(shown[shot.start : shot.end], before[shot.start : shot.end]) < 35)


def psnr(one: Film, other: Film) -> float:
    """Peak signal to noise of two films of 8 bits, in dB."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def held_equal(case: Case, made: Path, take: Path) -> bool:
    """Whether the latents of held shots are those of the take."""
    new, old = (load_file(path.with_suffix(".safetensors"))["latents"] for path in (made, take))
    starts = [0, *((shot.start - 1) // 4 + 1 for shot in case.scene.shots[1:]), new.shape[2]]
    spans = [span for place, span in enumerate(pairwise(starts)) if place not in case.made]
    return all(bool((new[:, :, a:b] == old[:, :, a:b]).all()) for a, b in spans)


def rows(args: argparse.Namespace, variant: str) -> Iterator[str]:
    """The lines of a variant's table."""
    out = args.out / variant
    options = ["--variant", variant]
    first = takes(args.films)
    videos = film(first, out / "takes", options)
    films = [read_video(path) for path in videos]
    tally = Tally()
    for case, shown in zip(first, films, strict=True):
        judge(case, shown, None, tally)
    yield f"{variant:<6}  {'takes':<20}  {tally.line()}"
    modes = {"reshoot": [reshoot(case, number) for number, case in enumerate(first)]}
    modes |= {f"edit {s}": [edit(case, number, s) for number, case in enumerate(first)] for s in STRENGTHS}
    modes |= {"longer": [longer(case, number) for number, case in enumerate(first)]}
    for noise in args.shares:
        for mode, cases in modes.items():
            name, tally = f"{mode}, noise {noise:g}", Tally()
            folder = out / name.replace(", ", "_").replace(" ", "")
            made = film(cases, folder, [*options, "--hold_noise", str(noise)], videos)
            for case, path, take, before in zip(cases, made, videos, films, strict=True):
                tally.add("held", held_equal(case, path, take))
                judge(case, read_video(path), before, tally)
            yield f"{variant:<6}  {name:<20}  {tally.line()}"


def main() -> None:
    """Make, read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--shares", type=float, nargs="+", default=[1, 0.75, 0.5, 0.25, 0])
    parser.add_argument("--variants", nargs="+", default=["full", "sparse"])
    parser.add_argument("--out", type=Path, default=Path("out/direct"))
    args = parser.parse_args()
    sys.stdout.write(heading("benchmarks.direct", sys.argv[1:]))
    for variant in args.variants:
        for line in rows(args, variant):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
