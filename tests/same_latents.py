"""Makes twelve runs in this tree and in another worktree: `python -m tests.same_latents OTHER_TREE [--keep FOLDER]`.

The runs use the miniature and different options, on one thread, each as a process of its own tree's script. Latents
must be equal bit for bit, and so must the frames of the runs that write a video. Exit code 0 when all are equal, 1 when
not.
`--keep` keeps what was made, in one folder for each tree, to look at a difference.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from holocine_ext.presets import MODELS
from tests.wan2.lora_files import comfy, draw, kohya, with_whole, write_lora
from wan2.request.flat import FILES, preset_values
from wan2.run.video_io import read_video
from wan2.weights.checkpoint import inspect_transformer

ROOT = Path(__file__).parents[1]
BASE, EXTENSION = "wan2_generate_video.py", "holocine_generate_video.py"
PACKAGES = "import wan2, holocine_ext as e; print(wan2.__file__, e.__file__, sep=chr(10))"
SCENE = "The scene is a meadow with a tree. [character1] is a red ball wearing a hat."
SHOTS = ("Wide shot of [character1] moving right by day.", "Close-up, at night: the ball waiting.")
PLAIN = "Wide shot of a red ball moving right by day, in a meadow."
LIMIT_SECONDS = 300
NAME, OPTIONS, FOUND = 10, 42, 13
"""Widths of the table's columns; with the seconds of both trees a line has 79 characters."""


@dataclass(frozen=True)
class Run:
    """One run: the script, what it makes (not shown in the table) and the options that are compared."""

    name: str
    script: str
    scene: tuple[str, ...]
    options: tuple[str, ...]

    def words(self, save_path: Path) -> list[str]:
        """The command line after the script. A video is written only by runs that ask for one."""
        kind = () if "--output_type" in self.options else ("--output_type", "latent")
        return [*self.scene, *self.options, *kind, "--seed", "7", "--device", "cpu", "--save_path", str(save_path)]


@dataclass(frozen=True)
class Made:
    """What one run left: the folder with its files, its seconds, and its last line of stderr if it failed."""

    folder: Path
    seconds: float
    failure: str


def write_loras(folder: Path) -> list[Path]:
    """Two LoRAs of the miniature: differences of whole tensors are in the first one only."""
    config = inspect_transformer(MODELS["nano"]["full"].model.expert("low").path).config
    drawn = [with_whole(draw(config, seed=1), config), draw(config, seed=2, rank=8, alpha=None)]
    folder.mkdir(parents=True)
    tensors = [comfy(drawn[0]), kohya(drawn[1])]
    return [write_lora(folder / f"{name}.safetensors", each) for name, each in zip("ab", tensors, strict=True)]


def twelve_runs(loras: Sequence[Path]) -> list[Run]:
    """The runs. Paths are absolute, so both trees read the same scenes, LoRAs and (in the base's run) weights.

    `--weights_from ram` and `--vae_cache_cpu` need an accelerator and are not among them.
    """
    nano = ("--model", "nano", "--infer_steps", "4")
    board = (*nano, "--storyboard", str(ROOT / "examples" / "nano_three_shots.toml"))
    long_board = (*board, "--infer_steps", "6")
    shots = (*nano, "--global_caption", SCENE, "--shot_captions", *SHOTS, "--video_length", "21")
    values = preset_values(MODELS["nano"]["full"])
    weights = [word for name in FILES for word in (f"--{name}", str(values[name]))]
    base = (*weights, "--prompt", PLAIN, "--video_size", "64", "64", "--video_length", "17")
    first, second = map(str, loras)
    table: list[tuple[str, tuple[str, ...], str]] = [
        ("full", board, "--output_type both"),
        ("sparse", shots, "--variant sparse --shot_cut_frames 9 --output_type both --vae_tiling 32 32"),
        ("unipc", board, "--sample_solver unipc --flow_shift 7"),
        ("dpm++", board, "--sample_solver dpm++ --guidance_scale 4 --guidance_scale_high_noise 2"),
        ("fp8", board, "--fp8_scaled --fp8_t5"),
        ("fp8_fast", shots, "--fp8_fast --dtype bfloat16 --shot_cut_frames 13"),
        ("streamed", board, "--blocks_to_swap 5 --weights_from disk"),
        ("apart", shots, "--blocks_to_swap 6 --passes_apart --fp8_scaled --variant sparse"),
        ("lightning", shots, f"--preset lightning --lora_weight {first} {second} --lora_multiplier 0.5 0.8 "
         f"--lora_weight_high_noise {first}"),
        ("fewer", long_board, "--step_cache 0.3 --cfg_skip 0.3"),
        ("bfloat16", board, "--dtype bfloat16 --flow_shift 4"),
    ]  # fmt: skip
    runs = [Run(name, EXTENSION, scene, tuple(options.split())) for name, scene, options in table]
    return [
        *runs,
        Run("base", BASE, base, ("--infer_steps", "4", "--dual_dit_boundary", "0.9", "--output_type", "both")),
    ]


def environment(tree: Path, folder: Path) -> dict[str, str]:
    """The environment of one tree's runs: its own packages, one thread, and a cache folder of its own."""
    own = {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    return {**os.environ, **own}


def check_packages(tree: Path, folder: Path) -> None:
    """Exit with a message unless a process in `tree` imports the packages of that tree."""
    command, env = [sys.executable, "-c", PACKAGES], environment(tree, folder)
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)
    found = [Path(line).resolve() for line in done.stdout.splitlines()]
    if len(found) != 2 or not all(path.is_relative_to(tree) for path in found):
        sys.exit(f"{tree}: is no worktree of this project (a process there imports {done.stdout.split()})")


def make(run: Run, tree: Path, folder: Path) -> Made:
    """Make one run by the script of `tree`."""
    own = folder / run.name
    own.mkdir(parents=True)
    command = [sys.executable, str(tree / run.script), *run.words(own / f"{run.name}.{run_suffix(run)}")]
    started = time.perf_counter()
    env = environment(tree, folder)
    try:
        subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True)
        failure = ""
    except subprocess.CalledProcessError as error:
        failure = (error.stderr.splitlines() or ["no message"])[-1]
    except subprocess.TimeoutExpired:
        failure = f"did not end within {LIMIT_SECONDS} s"
    return Made(own, time.perf_counter() - started, failure)


def run_suffix(run: Run) -> str:
    """The suffix of the file that a run is asked for."""
    return "mp4" if "both" in run.options else "safetensors"


def compare(here: Made, there: Made) -> str:
    """`equal`, or in a few words what differs."""
    if here.failure or there.failure:
        return "fails " + ("in both" if here.failure and there.failure else "here" if here.failure else "there")
    names = [sorted(path.name for path in made.folder.iterdir()) for made in (here, there)]
    if names[0] != names[1]:
        return "other files"
    for name in names[0]:
        pair = here.folder / name, there.folder / name
        if name.endswith(".safetensors"):
            found = difference(*(load_file(path)["latents"].numpy() for path in pair))
        elif name.endswith(".mp4"):
            found = difference(*map(read_video, pair))
        else:
            continue
        if found:
            return found
    return "equal"


def difference(here: np.ndarray, there: np.ndarray) -> str:
    """How far two arrays are apart, "" when they are equal bit for bit."""
    if (here.shape, here.dtype) != (there.shape, there.dtype):
        return "other shape"
    if here.tobytes() == there.tobytes():
        return ""
    return f"off by {np.abs(here.astype(np.float64) - there.astype(np.float64)).max():.1e}"


def shown(name: str, options: str, found: str, seconds: Sequence[str]) -> str:
    """One row of the table; long options go on in the lines below."""
    first, *others = textwrap.wrap(options, OPTIONS, break_long_words=True, break_on_hyphens=False)
    line = f"{name:<{NAME}}{first:<{OPTIONS}} {found:<{FOUND}}{''.join(f'{text:>6}' for text in seconds)}"
    return "\n".join([line, *(" " * NAME + other for other in others)])


def say(text: str) -> None:
    """Show a line of the table at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def compare_all(other: Path, folder: Path) -> bool:
    """Make and compare every run, and print the table as it grows; whether all are equal."""
    trees = {"here": ROOT, "there": other}
    for name, tree in trees.items():
        check_packages(tree, folder / name)
    loras = write_loras(folder / "loras")
    say(shown("run", "options", "latents", ("here", "there")))
    equal = 0
    for run in (runs := twelve_runs(loras)):
        here, there = (make(run, tree, folder / name) for name, tree in trees.items())
        found = compare(here, there)
        equal += found == "equal"
        options = " ".join(Path(word).name if word.startswith("/") else word for word in run.options)
        say(shown(run.name, options, found, [f"{made.seconds:.1f}" for made in (here, there)]))
        for name, made in zip(trees, (here, there), strict=True):
            if made.failure:
                say(textwrap.indent(textwrap.fill(f"{name}: {made.failure}", 68), " " * NAME))
    say(f"{equal} of {len(runs)} runs are equal; times in seconds")
    return equal == len(runs)


def main() -> None:
    """Compare this tree with the one named."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.same_latents", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, metavar="OTHER_TREE", help="another worktree of this project")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what was made, in a folder that is empty")
    args = parser.parse_args()
    if not args.other.is_dir():
        parser.error(f"OTHER_TREE {args.other}: no such folder")
    if args.keep is not None and args.keep.is_dir() and any(args.keep.iterdir()):
        parser.error(f"--keep {args.keep}: must be an empty folder, or none yet")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if args.keep is None else args.keep.resolve()
        sys.exit(0 if compare_all(args.other.resolve(), folder) else 1)


if __name__ == "__main__":
    main()
