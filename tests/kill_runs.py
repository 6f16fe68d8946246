"""Kills runs at random moments and lets them go on: `python -m tests.kill_runs --runs 300`.

A run is one of 18 configurations, of random weights or of the miniature. It is killed up to four times in a row, by
`kill -9`; each time the same command line is started again, which has `--resume`, and the last one ends by itself.

A moment is one of the times at which the run opens a file for writing, renames, makes or removes something, or a
little later; every kind of these is as likely as any other. Some kills go by the clock alone.

What must hold: after every kill no file under a final name is another than in a run that nobody killed (the state, the
preview and the windows of a long film apart, which are only whole). In the end every path of the whole folder is there
and equal, also the checkpoints, and what a record says but for times and memory (`tests.snapshots.LEFT_OUT`); nothing
else is there, hidden or not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import ftfy  # noqa: F401
import numpy as np
import tokenizers  # noqa: F401
import torch
import tqdm  # noqa: F401
from PIL import Image

import holocine_ext.cli
import holocine_ext.run  # noqa: F401
import wan2.models.vae  # noqa: F401
import wan2.run.keeper
import wan2.run.text_encoder
from holocine_ext.presets import MODELS as PRESETS
from tests.snapshots import content, differences, snapshot
from tests.tiny import MODELS, QUICK, write_tiny_model
from tests.wan2.fp8_files import six_blocks, write
from tests.wan2.lora_files import comfy, draw, kohya, write_lora
from wan2.run.video_io import VideoWriter
from wan2.weights.checkpoint import inspect_transformer

# Loaded here once, like the modules above that nobody uses here: a run is a fork of this process.
SCHEDULERS = diffusers.UniPCMultistepScheduler, diffusers.DPMSolverMultistepScheduler
MOST_KILLS = 4
# Of the kills, how many go by the clock alone; of the others, how many come a little after their moment.
BY_CLOCK, LATER = 0.2, 0.5
DELAY = 0.03
# How often a configuration that saves by the clock does so, in seconds.
CLOCK = 0.02
SCENE = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "--shot_cut_frames", "5"]
STEPS = ["--infer_steps", "4", "--flow_shift", "5", "--resume"]
EVERY = ["--save_every", "1"]
BOTH = ["--output_type", "both"]
FP8 = ["--fp8_scaled", "--fp8_cache"]
LORA = ["--lora_weight_high_noise", "model/high.lora", "--lora_weight", "model/low.lora"]
FEWER = ["--sample_solver", "dpm++", "--step_cache", "0.3", "--cfg_skip", "0.5"]
APART = ["--sample_solver", "unipc", "--passes_apart", "--blocks_to_swap", "4"]
LATENT = ["--output_type", "latent"]
CONFIGS: dict[str, list[str]] = {
    "plain": [*BOTH, *EVERY],
    "clock": BOTH,
    "streamed": [*BOTH, *EVERY, "--blocks_to_swap", "4"],
    "fp8 kept": [*BOTH, *EVERY, *FP8],
    "dpm++ cached": [*BOTH, *EVERY, *FEWER],
    "unipc apart": [*BOTH, *EVERY, *APART],
    "lora": [*BOTH, *EVERY, *LORA],
    "lora fp8": [*BOTH, *EVERY, *LORA, *FP8],
    "frames": ["--output_type", "images", *EVERY],
    "shots": [*BOTH, *EVERY, "--export_shots", "--preview", "1"],
    "latents": [*LATENT, *EVERY],
    "latents clock": LATENT,
    "list": [*BOTH, *EVERY],
    "waves": [*BOTH, *EVERY, "--wave", "2"],
    "reshoot": [*BOTH, *EVERY, "--reshoot", "2"],
    "cast": [*BOTH, *EVERY],
    "windows": [*BOTH, *EVERY],
    "clip": [*BOTH, *EVERY, "--strength", "0.9"],
}
LISTS = ("list", "waves")
# What lies there after a kill: no file, a state alone, some of the files that a run ends with, all of them. Or the run
# had ended by itself.
MOMENTS = ("nothing", "state", "some", "all", "ended")
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Kill:
    """When a run is killed: `delay` seconds after the operation of that name comes for the `count`th time.

    Without an operation, seconds from the start of the run.
    """

    operation: str
    count: int
    delay: float

    def __str__(self) -> str:
        at = f"{self.operation} {self.count}" if self.operation else "start"
        return f"{at} +{1000 * self.delay:.0f} ms"


@dataclass
class Watch:
    """Sees what the run of this process does to files below a folder, and when its moment has come."""

    folder: str
    kill: Kill | None
    moment: int
    seen: list[str] = field(default_factory=list)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit hook."""
        if event not in OPERATIONS or (event == "open" and not args[2] & WRITING):
            return
        paths = [os.fsdecode(path) for path in args[:2] if isinstance(path, str | bytes | os.PathLike)]
        if not any(path.startswith(self.folder) or not Path(path).is_absolute() for path in paths):
            return
        names = [re.sub(r"\d{2,}", "N", Path(path).name) for path in paths[: 1 + (event == "os.rename")]]
        self.seen.append(" ".join([event.removeprefix("os."), *names]))
        kill = self.kill
        if kill is None or (self.seen[-1], self.seen.count(self.seen[-1])) != (kill.operation, kill.count):
            return
        if kill.delay:
            os.write(self.moment, b"!")
        else:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Case:
    """One command line in a folder of its own: the model, the scenes, what it makes, and an empty place to run in.

    Its libraries are loaded already: a run is a fork, so that its moments are those that count.
    """

    root: Path
    name: str
    words: list[str]
    inputs: frozenset[str] = frozenset()
    expected: dict[str, Any] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    lasts: float = 0.0

    @property
    def log(self) -> Path:
        """What the last run said."""
        return self.root.parent / "log"

    def start(self, kill: Kill | None, moment: int) -> int:
        """Start a run, which writes to `moment` when its moment has come; its process."""
        child = os.fork()
        if child:
            return child
        try:
            os.chdir(self.root)
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            watch = Watch(str(self.root), kill, moment)
            if "clock" in self.name:
                vars(wan2.run.keeper)["SAVE_SECONDS"] = CLOCK
            sys.addaudithook(watch)
            code = holocine_ext.cli.main(self.words)
            if kill is None:
                self.log.with_name("operations").write_text(json.dumps(watch.seen))
            os._exit(code)
        finally:
            os._exit(99)

    def finish(self) -> None:
        """Run to the end.

        Raises:
            AssertionError: the run fails.
        """
        status = os.waitpid(self.start(None, -1), 0)[1]
        if status:
            raise AssertionError(f"ended with {os.waitstatus_to_exitcode(status)}: {self.log.read_text()[-SAID:]}")

    def learn(self) -> None:
        """Make everything once, undisturbed: what there is then, and by which operations it came."""
        self.inputs = frozenset(path for path in snapshot(self.root))
        for _ in range(2):  # the second is the faster one
            self.clear()
            start = time.monotonic()
            self.finish()
            self.lasts = time.monotonic() - start
        self.expected = snapshot(self.root)
        self.operations = json.loads(self.log.with_name("operations").read_text())

    def clear(self) -> None:
        """Remove everything but what a run reads."""
        for path in sorted(self.root.rglob("*"), reverse=True):
            if str(path.relative_to(self.root)) not in self.inputs:
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()

    def draw(self, choose: random.Random) -> Kill:
        """A moment."""
        if choose.random() < BY_CLOCK:
            return Kill("", 0, choose.uniform(0, self.lasts))
        operation = choose.choice(sorted(set(self.operations)))
        count = min(choose.randint(1, self.operations.count(operation)) for _ in range(2))  # later runs do less
        return Kill(operation, count, choose.uniform(0, DELAY) if choose.random() < LATER else 0.0)

    def kill(self, kill: Kill) -> str:
        """Start a run and kill it; which of `MOMENTS` it was.

        Raises:
            AssertionError: it had failed by itself, or what lies there is not whole.
        """
        moment, told = os.pipe()
        child = self.start(kill, told)
        os.close(told)
        if not kill.operation or os.read(moment, 1):
            time.sleep(kill.delay)
            os.kill(child, signal.SIGKILL)
        os.close(moment)
        status = os.waitpid(child, 0)[1]
        if status and os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise AssertionError(f"ended with {os.waitstatus_to_exitcode(status)}: {self.log.read_text()[-SAID:]}")
        found = self.check()
        return found if status else MOMENTS[-1]

    def check(self) -> str:
        """What lies there, every file under a final name being whole: one of `MOMENTS`."""
        out = self.root / "out"
        visible = [path for path in sorted(out.rglob("*")) if not any(part.startswith(".") for part in path.parts)]
        states = [path for path in visible if path.name.endswith(".state.safetensors")]
        for path in visible:
            there = str(path.relative_to(self.root))
            try:
                holds = content(path)
            except (OSError, ValueError) as error:
                raise AssertionError(f"{there} is not whole: {error}") from error
            if path not in states and "_preview" not in path.name and "_window" not in path.name:
                problems = list(differences(holds, self.expected.get(there, "nothing"), there))
                if problems:
                    raise AssertionError("; ".join(problems))
        final = len([path for path in self.expected if path.startswith("out/")])
        made = len(visible) - len(states)
        return MOMENTS[0] if not visible else MOMENTS[1] if not made else MOMENTS[2 + (made == final)]

    def compare(self) -> None:
        """Everything as if nobody had killed.

        Raises:
            AssertionError: what is not.
        """
        if problems := list(differences(snapshot(self.root), self.expected)):
            raise AssertionError("; ".join(problems))


SAID = 1000


def write_model(folder: Path, name: str) -> list[str]:
    """Write a model, its transformers six blocks deep, and a LoRA for each of them; the flags that choose it."""
    folder.mkdir(parents=True)
    if name == "nano":
        shipped = PRESETS["nano"]["full"].model
        files = {expert.flag: expert.path for expert in shipped.experts} | {"vae": shipped.vae, "t5": shipped.t5}
        for path in files.values():
            shutil.copy(path, folder)
        shutil.copytree(shipped.tokenizer, folder / "tokenizer")
        files |= {"tokenizer": shipped.tokenizer}
        paths = {name: f"model/{path.name}" for name, path in files.items()}
        high, low = (folder / expert.path.name for expert in shipped.experts)
        flags = ["--model", "nano", *(word for name, path in paths.items() for word in (f"--{name}", path))]
    else:
        model = write_tiny_model(folder)
        for noise in ("high", "low"):
            write(model.expert(noise), six_blocks(noise), torch.float32)
        high, low = model.expert("high"), model.expert("low")
        flags = [word.replace(str(folder), "model") for word in model.flags()]
    write_lora(folder / "high.lora", comfy(draw(inspect_transformer(high).config, seed=1)))
    write_lora(folder / "low.lora", kohya(draw(inspect_transformer(low).config, seed=2)))
    return flags


def write_list(folder: Path) -> list[str]:
    """Three scenes and a list of them; the flag that names it."""
    folder.mkdir()
    for number, name in enumerate(("one", "two", "three")):
        shots = [{"caption": "The tower"}, {"caption": "The sea"}][: 1 + number % 2]
        board = {"global_caption": "A lighthouse.", "shots": shots, "seed": number}
        (folder / f"{name}.json").write_text(json.dumps(board))
    (folder / "list.txt").write_text("one.json\ntwo.json --f 5\nthree.json\n")
    return ["--from_file", "scenes/list.txt"]


def write_board(folder: Path, shots: int, **more: object) -> list[str]:
    """A storyboard of so many shots, and a picture; the flag that names the one."""
    folder.mkdir()
    Image.new("RGB", (40, 40), "orange").save(folder / "keeper.png")
    told = [{"caption": f"Shot {number}", "frames": 4 + (not number)} for number in range(shots)]
    (folder / "board.json").write_text(json.dumps({"global_caption": "A lighthouse.", "shots": told} | more))
    return ["--storyboard", "scenes/board.json"]


def write_take(root: Path, flags: Sequence[str]) -> list[str]:
    """An earlier run; the flag that names it."""
    Case(root, "take", [*flags, *QUICK, *STEPS[:-1], *SCENE, "--save_path", "takes/take.mp4"]).finish()
    return ["--take", "takes/take.mp4"]


def write_clip(folder: Path) -> list[str]:
    """A video; the flags for a scene that begins from it."""
    folder.mkdir()
    with VideoWriter(folder / "clip.mp4", 8, (32, 32), {}, 16) as writer:
        for number in range(20):
            writer.write(np.full((32, 32, 3), 10 * number, np.uint8))
    return [*SCENE, "--video_path", "scenes/clip.mp4"]


def write_scene(root: Path, name: str, flags: Sequence[str]) -> list[str]:
    """What a configuration reads besides its model; the flags that name it."""
    if name in LISTS:
        return write_list(root / "scenes")
    if name == "cast":
        return write_board(root / "scenes", 2, cast=[{"image": "keeper.png", "caption": "The keeper"}])
    if name == "windows":
        return write_board(root / "scenes", 15)
    if name == "reshoot":
        return write_take(root, flags)
    return write_clip(root / "scenes") if name == "clip" else SCENE


def make_case(root: Path, name: str, model: str) -> Case:
    """A configuration in a folder of its own, made once."""
    flags = write_model(root / "model", model)
    scene = write_scene(root, name, flags)
    quick = [word for word in QUICK if name not in LISTS or word not in ("--seed", "7")]
    if name == "windows":  # its shots say how long it is
        quick = [word for word in quick if word not in ("--video_length", "9")]
    ending = ".safetensors" if "latent" in CONFIGS[name] else ".mp4"
    case = Case(root, name, [*flags, *quick, *STEPS, *CONFIGS[name], *scene, "--save_path", f"out/scene{ending}"])
    case.learn()
    return case


def kill_once(case: Case, choose: random.Random, moments: Counter[str]) -> str | None:
    """Kill one run up to `MOST_KILLS` times and let it end; a finding, if there is one."""
    kills: list[Kill] = []
    case.clear()
    try:
        for _ in range(choose.randint(1, MOST_KILLS)):
            kills.append(case.draw(choose))
            found = case.kill(kills[-1])
            moments[found] += 1
            if found == MOMENTS[-1]:
                break
        case.finish()
        case.compare()
    except AssertionError as error:
        return f"{case.name}, killed at {', then '.join(map(str, kills))}: {error}"
    return None


def kill_runs(runs: int, seed: int, model: str, names: Sequence[str], folder: Path) -> tuple[list[str], list[str]]:
    """Kill so many runs, the configurations by turns; the lines of a table, and what was found."""
    torch.set_num_threads(1)
    table, findings = [f"{'configuration':14}{'runs':>6}{'kills':>7}" + "".join(f"{name:>9}" for name in MOMENTS)], []
    total, kinds = Counter[str](), set[str]()
    for index, name in enumerate(names):
        count = runs // len(names) + (index < runs % len(names))
        case, moments = make_case(folder / name.replace(" ", "_") / "case", name, model), Counter[str]()
        for number in range(count):
            found = kill_once(case, random.Random(f"{seed} {name} {number}"), moments)
            findings += [found] if found else []
        kinds |= set(case.operations)
        total += moments
        table.append(_row(name, count, moments))
        shutil.rmtree(case.root)
    table += [_row("all", runs, total), f"{len(kinds)} kinds of operations on files were moments to choose from"]
    return table, findings


def _row(name: str, runs: int, moments: Counter[str]) -> str:
    return f"{name:14}{runs:6d}{moments.total():7d}" + "".join(f"{moments[moment]:9d}" for moment in MOMENTS)


def main() -> None:
    """Kill as often as asked, and say what was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", choices=CONFIGS, action="append", help="repeatable (default: all)")
    parser.add_argument("--model", choices=MODELS, default=MODELS[1])
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        table, findings = kill_runs(args.runs, args.seed, args.model, args.config or list(CONFIGS), Path(folder))
    sys.stdout.writelines(f"{line}\n" for line in findings)
    whole, lasted = args.runs - len(findings), time.monotonic() - start
    sys.stdout.write(f"{whole} of {args.runs} runs went on to the same bytes ({lasted:.0f} s); ")
    sys.stdout.write("what lay there after each kill:\n")
    sys.stdout.writelines(f"{line}\n" for line in table)
    raise SystemExit(1 if findings else 0)


if __name__ == "__main__":
    main()
