"""Shots made anew beside held ones, edited, and added: does the new shot fit? `python -m benchmarks.direct`.

Held-out scenes of three shots are made by the miniature as takes. Then, by storyboards of which shots come from takes:
one shot is made anew (`reshoot`), made anew in part with its light turned about (`edit` at a strength), or two more
follow (`longer`). Other films have a drawing in their cast (`cast`), or are made of twelve shots in three windows
(`windows`). What is held is shown at a share of the step's noise. The hat is named by no caption: a new shot
can have it from held ones alone. New shots are decoded with one latent frame before and after, and facts are read off
their frames. What was found is kept in `--out`, film by film, so that a later call with more films goes on from there;
`--table` only prints. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.direct_cases import MODES, Case, take
from benchmarks.table import columns, heading
from holocine_ext.asked import asked
from holocine_ext.cli import build_parser
from holocine_ext.evaluate.nano_world.captions import facts_of
from holocine_ext.evaluate.nano_world.read import ShotReading, find_cuts, read_shot
from holocine_ext.evaluate.result import share
from holocine_ext.plan import plan_video
from holocine_ext.presets import MODELS, VARIANTS
from holocine_ext.request import SceneRequest
from holocine_ext.run import Session
from holocine_ext.windows import LongFilm, in_windows
from wan2.cli.asked import given_values
from wan2.models.vae import WanVAE, to_uint8
from wan2.plan.resume import BESIDE
from wan2.request.compute import Compute
from wan2.run.vae import inspect_vae, load_vae

MEASURES = ("held", "cuts", "facts", "hat", "differs", "light", "framing")
SAME_DB = 35
ALL_SHARES = (0.5, 1.0, 0.0, 0.75, 0.25)
# Of which shares of noise a mode is made, where it is not of all.
SHARES: dict[str, tuple[float, ...]] = {"takes": (), "reshoot": (0.5, 1.0), "windows": (0.5, 1.0, 0.0)}
SHARES |= {"edit 0.6": (0.5,), "edit 0.8": (0.5,)}
Film = NDArray[np.uint8]
Found = dict[str, list[bool]]


@dataclass(frozen=True)
class Row:
    """A line of the table: the weights, a mode of `MODES`, and the share of the step's noise that held shots show."""

    variant: str
    mode: str
    noise: float

    @property
    def folder(self) -> Path:
        """Where its films lie below `--out`."""
        return Path(self.variant) / (self.mode if self.mode == "takes" else f"{self.mode}_{self.noise:g}")

    def words(self) -> list[str]:
        """The command line, but for scene and output."""
        held = [] if self.mode == "takes" else ["--hold_noise", str(self.noise)]
        return ["--model", "nano", "--variant", self.variant, *held, "--output_type", "latent", "--resume", "--quiet"]


def film(row: Row, case: Case, number: int, out: Path) -> Path:
    """Make the latents of a case that are not there yet."""
    folder = out / row.folder
    folder.mkdir(parents=True, exist_ok=True)
    board, path = (folder / f"{number:03d}{ending}" for ending in (".board.json", ".safetensors"))
    of = (out / Row(row.variant, "takes", 1.0).folder / path.name).resolve()
    board.write_text(json.dumps(case.board(number, of)))
    if case.drawn is not None:
        case.picture().save(path.with_suffix(".png"))
    if not path.exists():
        words = [*row.words(), "--storyboard", str(board), "--save_path", str(path)]
        make_latents(row, asked(given_values(build_parser().parse_args(words))), path)
    return path


def make_latents(row: Row, request: SceneRequest, path: Path) -> None:
    """Make the latents of a film, in windows where it has more shots than the miniature was trained on."""
    windows = in_windows(request)
    long = LongFilm(request, windows, BESIDE)
    if not windows:
        run(row, request)
    for number in range(len(windows)):
        run(row, long.window(number))
    if windows:
        save_file({"latents": long.latents()}, path)
        long.clear()


def run(row: Row, request: SceneRequest) -> None:
    """Carry out one request."""
    for _ in session(row.variant).run(plan_video(request)):
        pass


@cache
def session(variant: str) -> Session:
    """What makes every film of a variant, its models loaded once."""
    return Session(MODELS["nano"][variant].model, Compute())


@cache
def vae() -> WanVAE:
    """That of the miniature."""
    return load_vae(inspect_vae(MODELS["nano"]["full"].model.vae), "cpu", torch.float32)


def decoded(latents: Tensor) -> Film:
    """The frames [n, 64, 64, 3] of latents [1, 16, F, 8, 8], decoded as a video of their own."""
    with torch.inference_mode():
        return np.concatenate([to_uint8(chunk).numpy() for chunk in vae().decode_chunks(latents)])


@dataclass(frozen=True)
class Shown:
    """A shot as it looks beside its neighbours: frames, and where among them it begins and ends."""

    frames: Film
    start: int
    end: int

    @property
    def own(self) -> Film:
        """Its frames."""
        return self.frames[self.start : self.end]

    def cuts(self) -> Iterator[bool]:
        """For each cut to a neighbour, whether there is one within a frame of its place."""
        found = find_cuts(self.frames)
        for at in (self.start, self.end):
            if 0 < at < len(self.frames):
                yield any(abs(at - cut) <= 1 for cut in found)


def spans(case: Case, latents: Tensor) -> list[tuple[int, int]]:
    """The latent frames of every shot."""
    starts = [0, *((shot.start - 1) // 4 + 1 for shot in case.scene.shots[1:]), latents.shape[2]]
    return list(pairwise(starts))


def show(latents: Tensor, span: tuple[int, int]) -> Shown:
    """A shot with one latent frame of each neighbour."""
    first, last = max(span[0] - 1, 0), span[1] + 1
    frames = decoded(latents[:, :, first:last])
    return Shown(frames, 4 * (span[0] - first) - 3 * (span[0] > 0), 1 + 4 * (span[1] - first - 1))


@cache
def taken(path: Path, span: tuple[int, int]) -> tuple[Shown, ShotReading]:
    """A shot of a take, decoded and read once for all films beside it."""
    shown = show(latents_of(path), span)
    return shown, read_shot(shown.own)


def judge(case: Case, latents: Tensor, take_path: Path | None) -> Found:
    """Hold a film against its scene, and against its take."""
    before = None if take_path is None else latents_of(take_path)
    found: Found = {name: [] for name in MEASURES}
    placed = spans(case, latents)
    held = [place for place in range(len(placed)) if place not in case.made]
    if before is not None:
        found["held"] = [torch.equal(latents[:, :, a:b], before[:, :, a:b]) for a, b in (placed[p] for p in held)]
    readings: dict[int, ShotReading] = {}
    hats = [taken(take_path, placed[place])[1].hat for place in held] if take_path is not None else []
    hats = [case.scene.hat] if case.drawn is not None else hats
    for place in case.made:
        shown, shot = show(latents, placed[place]), case.scene.shots[place]
        reading = readings[place] = read_shot(shown.own)
        found["cuts"] += shown.cuts()
        found["facts"] += [getattr(reading, fact) == asked for fact, asked in facts_of(case.scene, shot).items()]
        if place and not hats:
            found["hat"].append(reading.hat == readings[0].hat)
        elif hats:
            found["hat"].append(reading.hat == max(set(hats), key=hats.count))
        if before is not None and take_path is not None and placed[place][1] <= before.shape[2]:
            old, was = taken(take_path, placed[place])
            found["differs"].append(psnr(shown.own, old.own) < SAME_DB)
            if case.strength is not None:
                found["light"].append(reading.light == shot.light)
                found["framing"].append(reading.framing == was.framing)
    return found


def psnr(one: Film, other: Film) -> float:
    """Peak signal to noise of two films of 8 bits, in dB."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def latents_of(path: Path) -> Tensor:
    """The latents of a file."""
    return load_file(path)["latents"]


def make(row: Row, number: int, out: Path) -> None:
    """Make and judge one film, unless that was done."""
    path = out / row.folder / f"{number:03d}.found.json"
    if path.exists():
        return
    case = MODES[row.mode](take(number), number)
    latents = latents_of(film(row, case, number, out))
    beside = len(case.made) < len(case.scene.shots)
    of = out / Row(row.variant, "takes", 1.0).folder / f"{number:03d}.safetensors" if beside else None
    path.write_text(json.dumps(judge(case, latents, of)))


def cells(row: Row, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line of the table."""
    noise = "" if row.mode == "takes" else f"{row.noise:g}"
    made = [f"{row.variant} {row.mode}", noise, str(len(found))]
    for name in MEASURES:
        values = [value for film in found for value in film[name]]
        if name in ("held", "differs"):
            made.append(f"{sum(values)}/{len(values)}" if values else "")
        elif name in ("cuts", "facts", "hat"):
            made.append(estimate(values))
    return made


def estimate(values: Sequence[bool]) -> str:
    """A share and its interval."""
    one = share(values)
    low, high = (f"{edge:.2f}".removeprefix("0").replace("1.00", "1") for edge in (one.low, one.high))
    return f"{one.mean:.2f} {low}-{high}"


def table(rows: Sequence[Row], out: Path) -> str:
    """What was found so far."""
    every = {row: [json.loads(path.read_text()) for path in sorted((out / row.folder).glob("*.found.json"))]
             for row in rows}  # fmt: skip
    every = {row: found for row, found in every.items() if found}
    head = ["row", "noise", "n", "held", "cuts", "facts", "hat", "new"]
    text = columns([head, *(cells(row, found) for row, found in every.items())])
    edits = [[f"{row.variant} {row.mode}", f"{row.noise:g}", *(estimate([v for film in found for v in film[name]])
             for name in ("light", "framing"))] for row, found in every.items() if "edit" in row.mode]  # fmt: skip
    if edits:
        text += "\n" + columns([["row", "noise", "light follows", "framing kept"], *edits])
    return text


def main() -> None:
    """Make, read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--noise", type=float, nargs="+", default=ALL_SHARES)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("out/direct"))
    parser.add_argument("--table", action="store_true", help="print what was found so far")
    args = parser.parse_args()
    asked_for = [(mode, noise) for noise in args.noise for mode in args.modes if noise in SHARES.get(mode, ALL_SHARES)]
    rows = [Row(variant, *row) for row in [("takes", 1.0), *asked_for] for variant in args.variants]
    if not args.table:
        for number in range(args.films):
            for row in rows:
                make(row, number, args.out)
    sys.stdout.write(heading("benchmarks.direct", sys.argv[1:]) + table(rows, args.out))


if __name__ == "__main__":
    main()
