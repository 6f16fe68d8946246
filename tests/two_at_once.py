"""Starts two to four real processes on one name at random moments: `python -m tests.two_at_once --rounds 100`.

Each has a seed of its own, so that it is seen whose a file is. What must hold: the files are those of one run, as that
run makes them undisturbed; whoever loses says one line, names no file on stdout, exits with 1 or 2 within a second, and
touches nothing; a state is not lost; nothing is left over. Runs whose `--save_path` is a folder all succeed.

The second goes from the start of a process to its end; it is longer where more processes run than there are cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.snapshots import differences, raw, snapshot
from tests.tiny import QUICK, write_tiny_model

ROOT = Path(__file__).parents[1]
SCRIPT = [sys.executable, str(ROOT / "holocine_generate_video.py")]
STEPS = ["--infer_steps", "4", "--flow_shift", "5", "--save_every", "1"]
SCENE = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "--shot_cut_frames", "5"]
SEEDS = (1, 2, 3, 4)
LIMIT = 1.0
"""Seconds that a loser may take on a machine that has a core for each process."""
# How much longer for each process that waits for a core: the load is a mean of a minute, and comes late.
CROWDED = 3
NAME, STATE, FOLDER, LIST, ONE_OF_LIST = "one name", "a state", "one folder", "one list", "one of a list"
# One name comes as often as all the others together.
KINDS = (NAME, STATE, NAME, FOLDER, NAME, LIST, NAME, ONE_OF_LIST)


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code, what it said, seconds from its start, of which `cpu` it worked, load per core."""

    words: Sequence[str]
    code: int
    out: str
    err: str
    seconds: float
    cpu: float
    load: float

    @property
    def won(self) -> bool:
        """Whether it made something."""
        return bool(self.out)

    def __str__(self) -> str:
        said = " / ".join(self.err.splitlines()[-3:])
        return f"exit {self.code} after {self.seconds:.2f} s ({self.cpu:.2f} s of work), {len(self.out)}: {said[:400]}"


@dataclass
class Round:
    """What came of one round."""

    kind: str
    ended: list[Ended]
    problems: list[str] = field(default_factory=list)

    @property
    def losers(self) -> list[Ended]:
        """Those that made nothing."""
        return [one for one in self.ended if not one.won]


@dataclass
class Place:
    """A folder with a model, and what runs leave there when nobody disturbs them."""

    root: Path
    flags: list[str]
    expected: dict[object, dict[str, Any]] = field(default_factory=dict)
    state: bytes = b""
    lasts: float = 0.0

    @property
    def out(self) -> Path:
        """Where everything is made."""
        return self.root / "out"

    def line(self, seed: int, output: str, *more: str, scene: Sequence[str] = SCENE) -> list[str]:
        """A command line."""
        quick = [word for word in QUICK if word not in ("--seed", "7")]
        seeded = [] if "--from_file" in scene else ["--seed", str(seed)]
        words = [*SCRIPT, *self.flags, *quick, *STEPS, *scene, *seeded, "--save_path", f"out/{output}"]
        return [*words, *more]

    def process(self, number: int, words: Sequence[str], offset: float) -> Ended:
        """Run a process to its end, from `offset` seconds on."""
        time.sleep(offset)
        said = [self.root / f"{name}{number}" for name in ("stdout", "stderr")]
        with said[0].open("wb") as out, said[1].open("wb") as err:
            start = time.monotonic()
            process = subprocess.Popen(words, cwd=self.root, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.monotonic() - start
            process.returncode = os.waitstatus_to_exitcode(status)
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        texts = [path.read_text(errors="replace") for path in said]
        return Ended(words, process.returncode, *texts, seconds, used.ru_utime + used.ru_stime, load)

    def together(self, lines: Sequence[Sequence[str]], offsets: Sequence[float]) -> list[Ended]:
        """Run processes at the same time."""
        with ThreadPoolExecutor(len(lines)) as pool:
            return list(pool.map(self.process, range(len(lines)), lines, offsets))

    def alone(self, key: object, words: Sequence[str]) -> dict[str, Any]:
        """What a run leaves when it is alone, made the first time it is asked for."""
        if key not in self.expected:
            kept = self.root / "kept"
            if self.out.exists():
                self.out.rename(kept)
            ended = self.process(0, words, 0.0)
            if ended.code:
                raise AssertionError(f"alone: {ended}")
            self.lasts = max(self.lasts, ended.seconds)
            self.expected[key] = snapshot(self.out)
            self.clear()
            if kept.exists():
                kept.rename(self.out)
        return self.expected[key]

    def clear(self) -> None:
        """Remove what was made."""
        shutil.rmtree(self.out, ignore_errors=True)


def make_place(root: Path) -> Place:
    """A model, a list of two scenes, and a state that an interrupted run left."""
    root.mkdir()
    model = write_tiny_model(root / "model")
    scenes = root / "scenes"
    scenes.mkdir()
    for number in (1, 2):
        board = {"global_caption": "A meadow.", "shots": [{"caption": f"Take {number}"}], "seed": 10 + number}
        (scenes / f"{number}.json").write_text(json.dumps(board))
    (scenes / "list.txt").write_text("1.json\n2.json\n")
    place = Place(root, [word.replace(f"{root}/", "") for word in model.flags()])
    place.alone((NAME, SEEDS[0]), place.line(SEEDS[0], "a.mp4"))
    process = subprocess.Popen(place.line(SEEDS[0], "a.mp4"), cwd=root, stderr=subprocess.DEVNULL)
    state = place.out / "a.state.safetensors"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    place.state = state.read_bytes()
    place.clear()
    return place


def offsets(place: Place, choose: random.Random, count: int) -> list[float]:
    """When processes start: at once, close together, or at any time while the first one runs."""
    widest = choose.choice((0.0, 0.3, place.lasts))
    return [0.0, *(choose.uniform(0, widest) for _ in range(count - 1))]


def one_name(place: Place, choose: random.Random, count: int) -> Round:
    """Each with a seed of its own: the files are the winner's."""
    seeds = SEEDS[:count]
    lines = [place.line(seed, "a.mp4") for seed in seeds]
    done = Round(NAME, place.together(lines, offsets(place, choose, count)))
    winners = [seed for seed, one in zip(seeds, done.ended, strict=True) if one.won]
    if len(winners) != 1:
        done.problems.append(f"{len(winners)} of {count} won")
    else:
        expected = place.alone((NAME, winners[0]), place.line(winners[0], "a.mp4"))
        done.problems += differences(snapshot(place.out), expected)
    return done


def a_state(place: Place, choose: random.Random, count: int) -> Round:
    """Some go on from a state, others would begin anew: these are refused, and of the first one goes on."""
    place.out.mkdir()
    (place.out / "a.state.safetensors").write_bytes(place.state)
    go_on = choose.randint(0, count)
    lines = [place.line(SEEDS[0], "a.mp4", *(["--resume"] if number < go_on else [])) for number in range(count)]
    choose.shuffle(lines)
    done = Round(STATE, place.together(lines, offsets(place, choose, count)))
    winners = [one for one in done.ended if one.won]
    if any("--resume" not in one.words for one in winners) or len(winners) != min(go_on, 1):
        done.problems.append(f"{len(winners)} won of {count}, of which {go_on} go on from a state")
    elif winners:
        expected = place.alone((NAME, SEEDS[0]), place.line(SEEDS[0], "a.mp4"))
        done.problems += differences(snapshot(place.out), expected)
    elif raw(place.out) != {"a.state.safetensors": place.state}:
        done.problems.append(f"the state is lost: {list(raw(place.out))}")
    return done


def one_folder(place: Place, choose: random.Random, count: int) -> Round:
    """One seed, one second, a folder: all succeed, each under a name of its own."""
    place.out.mkdir()
    lines = [place.line(SEEDS[0], ".") for _ in range(count)]
    done = Round(FOLDER, place.together(lines, [choose.uniform(0, 0.2) for _ in range(count)]))
    done.problems += [str(one) for one in done.ended if not one.won or one.code]
    videos = sorted(path.stem for path in place.out.glob("*.mp4"))
    if len(videos) != count:
        done.problems.append(f"{len(videos)} videos of {count}")
    alone = place.alone(FOLDER, lines[0])
    name = next(path.removesuffix(".mp4") for path in alone if path.endswith(".mp4"))
    expected = {path.replace(name, video): value for video in videos for path, value in alone.items()}
    done.problems += differences(snapshot(place.out), expected)
    return done


def one_list(place: Place, choose: random.Random, count: int) -> Round:
    """A list begun several times: one makes it."""
    words = place.line(0, "a.mp4", scene=["--from_file", "scenes/list.txt"])
    done = Round(LIST, place.together([words] * count, offsets(place, choose, count)))
    if sum(one.won for one in done.ended) != 1:
        done.problems.append(f"{sum(one.won for one in done.ended)} of {count} won")
    done.problems += differences(snapshot(place.out), place.alone(LIST, words))
    return done


def one_of_a_list(place: Place, choose: random.Random, count: int) -> Round:
    """A list, and runs of a name that is in it: each name belongs to one of them, and the list ends with 1 or 0."""
    listed, number = place.line(0, "a.mp4", scene=["--from_file", "scenes/list.txt"]), choose.randint(1, 2)
    single = place.line(SEEDS[0], f"a-{number:03d}.mp4")
    starts = offsets(place, choose, count)
    choose.shuffle(starts)
    done = Round(ONE_OF_LIST, place.together([listed, *[single] * (count - 1)], starts))
    singles = [one for one in done.ended[1:] if one.won]
    expected, name = dict(place.alone(LIST, listed)), f"a-{number:03d}"
    if singles:
        alone = place.alone((ONE_OF_LIST, number), single)
        expected = {path: value for path, value in expected.items() if not path.startswith(name)} | alone
    if len(singles) > 1:
        done.problems.append(f"{len(singles)} of {count - 1} won {name}")
    if done.ended[0].won and done.ended[0].code != len(singles):
        done.problems.append(f"the list says {done.ended[0].code}, {name} being made by {len(singles)} others")
    elif not done.ended[0].won:  # the name was taken when the list was planned: then it touched nothing
        expected = place.alone((ONE_OF_LIST, number), single)
    done.problems += differences(snapshot(place.out), expected)
    return done


PLAYED = {NAME: one_name, STATE: a_state, FOLDER: one_folder, LIST: one_list, ONE_OF_LIST: one_of_a_list}


def play(place: Place, kind: str, choose: random.Random, timed: bool) -> Round:
    """One round; what did not hold is in its `problems`."""
    place.clear()
    done = PLAYED[kind](place, choose, choose.randint(2, 4))
    for one in done.ended:
        if "Traceback" in one.err:
            done.problems.append(f"a traceback: {one}")
        if one.won and one.code and "--from_file" not in one.words:
            done.problems.append(f"named files and failed: {one}")
    for one in done.losers:
        already = one.code == 0 and "--resume" in one.words and "is there already" in one.err
        if one.code not in (1, 2) and not already:
            done.problems.append(f"made nothing: {one}")
        if len(one.err.splitlines()) != 1:
            done.problems.append(f"lost with {len(one.err.splitlines())} lines: {one}")
        crowd = max(1.0, 2 * len(done.ended) / (os.cpu_count() or 1), CROWDED * one.load)
        if timed and one.seconds > LIMIT * crowd:
            done.problems.append(f"lost too late, at a load of {one.load:.1f} per core: {one}")
    return done


def play_all(rounds: int, seed: int, kinds: Sequence[str], timed: bool, root: Path) -> tuple[list[str], list[str]]:
    """So many rounds; the lines of a table, and what was found."""
    place, played, findings = make_place(root), dict[str, list[Round]](), list[str]()
    for number in range(rounds):
        kind = kinds[number % len(kinds)]
        done = play(place, kind, random.Random(f"{seed} {number}"), timed)
        played.setdefault(kind, []).append(done)
        if done.problems:
            findings.append(f"{kind}, round {number}: {'; '.join(done.problems)}; {' | '.join(map(str, done.ended))}")
    table = [f"{'':14}{'rounds':>8}{'processes':>11}{'lost':>7}{'median s':>10}{'slowest s':>11}{'its work s':>12}"]
    table += [_row(kind, found) for kind, found in played.items()]
    return table, findings


def _row(kind: str, played: Sequence[Round]) -> str:
    losers = sorted((one for done in played for one in done.losers), key=lambda one: one.seconds)
    row = f"{kind:14}{len(played):8d}{sum(len(done.ended) for done in played):11d}{len(losers):7d}"
    if not losers:
        return row
    return f"{row}{losers[len(losers) // 2].seconds:10.2f}{losers[-1].seconds:11.2f}{losers[-1].cpu:12.2f}"


def main() -> None:
    """Play as often as asked, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=PLAYED, action="append", help="repeatable (default: all)")
    parser.add_argument("--untimed", action="store_true", help="do not look at how long losers take")
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        table, findings = play_all(args.rounds, args.seed, args.kind or KINDS, not args.untimed, Path(folder) / "place")
    sys.stdout.writelines(f"{line}\n" for line in findings)
    lasted = time.monotonic() - start
    sys.stdout.write(f"{args.rounds - len(findings)} of {args.rounds} rounds as they should be ({lasted:.0f} s)\n")
    sys.stdout.writelines(f"{line}\n" for line in table)
    raise SystemExit(1 if findings else 0)


if __name__ == "__main__":
    main()
