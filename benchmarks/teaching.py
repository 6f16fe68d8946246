"""Is a new place learnt from twenty films, and do cuts in the captions matter? `python -m benchmarks.teaching`.

The miniature has never seen a volcano, nor read the word. Twenty films of one are drawn, prepared and taught twice:
with storyboards, and as other trainers see films, one caption each and no cuts. Then unseen boards are made into films,
in the new place and in the old ones, without a LoRA and with either; cuts are found by TransNetV2, facts are read from
the pixels. Every stage is a command of its own, and what is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

from holocine_ext.evaluate.asked import NANO, find_asked
from holocine_ext.evaluate.detect import open_detector
from holocine_ext.evaluate.measure import Means, measure_video
from holocine_ext.evaluate.nano_world import captions, world
from holocine_ext.evaluate.nano_world.captions import Captions, describe
from holocine_ext.evaluate.nano_world.world import Place, Scene, draw, random_cuts, random_scene
from holocine_ext.evaluate.result import summarise
from holocine_ext.evaluate.table import render_table
from wan2.run.video_io import VideoWriter

ROOT = Path(__file__).parents[1]
NEW, FPS, NUM_FRAMES = "volcano", 8.0, 33
PLACE = Place((150, 70, 60), (70, 50, 60), (235, 110, 40), "peak")
WORDS = ("a volcano", "the volcano")
OLD = tuple(world.PLACES)
STEPS: list[str] = []
"""How many steps films are made in; as the model has it, unless given."""
TAUGHT_SEED, HELD_OUT_SEED = 40_000_000, 41_000_000
ROWS = {"without": None, "with storyboards": "boards", "without cuts": "plain"}
"""Row of the table -> the data that was taught, if any."""


def add_place() -> None:
    """Let the world have the new place, so that it is drawn, described and read."""
    world.PLACES[NEW] = PLACE
    captions.PLACES[NEW] = WORDS


def scene_in(places: Sequence[str], seed: int, shots: int) -> Scene:
    """A scene in one of some places."""
    rng = Random(seed)
    scene = random_scene(rng, NUM_FRAMES, random_cuts(rng, NUM_FRAMES, shots))
    return Scene(rng.choice(list(places)), scene.hat, scene.characters, scene.shots)


def told(scene: Scene, seed: int) -> Captions:
    """A scene in words with tags."""
    every = (describe(Random(seed + i), scene) for i in range(99))
    return next(found for found in every if found.global_caption is not None)


def board_of(scene: Scene, words: Captions, seed: int) -> dict[str, object]:
    """The storyboard of a scene."""
    starts = [0, *scene.cuts]
    shots = [{"caption": text, "cut_frame": start} for text, start in zip(words.shots, starts, strict=True)]
    return {"global_caption": words.global_caption, "shots": shots, "num_frames": NUM_FRAMES, "fps": FPS, "seed": seed}


def draw_films(folder: Path, count: int) -> None:
    """Films to teach with, each with its storyboard, and once more with one caption and no cuts."""
    for number in range(count):
        seed = TAUGHT_SEED + number
        scene = scene_in([NEW], seed, 1 + number % 3)
        words = told(scene, seed)
        boards = {
            "boards": board_of(scene, words, seed),
            "plain": {"prompt": " ".join([words.global_caption or "", *words.shots])},
        }
        for kind, board in boards.items():
            path = folder / "films" / kind / f"film{number:02d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            with VideoWriter(path, FPS, (world.SIZE, world.SIZE), {}, crf=4) as writer:
                for frame in draw(scene):
                    writer.write(frame)
            path.with_suffix(".json").write_text(json.dumps(board))


def teach(folder: Path, kind: str, variant: str, options: Sequence[str]) -> None:
    """Prepare the films of a kind, and train on them."""
    data, name = folder / "data" / kind, folder / "loras" / kind
    if not data.exists():
        run("holocine_prepare.py", str(folder / "films" / kind), "--save_path", str(data), "--model", NANO)
    if not name.with_name(f"{kind}_low_noise.safetensors").exists():
        asked = ["--data", str(data), "--save_path", str(name), "--model", NANO, "--variant", variant, "--resume"]
        run("holocine_train_lora.py", *asked, "--device", "cpu", *options)


def make_films(folder: Path, row: str, count: int, variant: str) -> None:
    """Films of unseen boards, in the new place and in the old ones."""
    for places, where in (([NEW], "new"), (OLD, "old")):
        boards = folder / "boards" / where
        boards.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed = HELD_OUT_SEED + number
            scene = scene_in(places, seed, 2 + number % 2)
            (boards / f"scene{number:02d}.json").write_text(json.dumps(board_of(scene, told(scene, seed), number)))
        listing = boards / "scenes.txt"
        listing.write_text("".join(f"{path.name}\n" for path in sorted(boards.glob("*.json"))))
        asked = [
            "--model",
            NANO,
            "--variant",
            variant,
            "--from_file",
            str(listing),
            "--no_contact_sheet",
            "--resume",
            *STEPS,
        ]
        if (kind := ROWS[row]) is not None:
            for suffix, noise in (("_high_noise", "high"), ("", "low")):
                asked += [f"--lora_weight{suffix}", str(folder / "loras" / f"{kind}_{noise}_noise.safetensors")]
        run("holocine_generate_video.py", *asked, "--save_path", str(folder / "made" / f"{where} place, {row}"))


def table(folder: Path) -> str:
    """Every folder of films as a row, with 95 % intervals."""
    add_place()
    asked, _ = find_asked(sorted(folder.glob("made/*")), None, NANO)
    means = Means({"transnetv2": open_detector("transnetv2", "cpu")})
    return render_table(summarise([measure_video(one, means) for one in asked]))


def run(script: str, *words: str) -> None:
    """Run one of the scripts."""
    subprocess.run([sys.executable, str(ROOT / script), *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """One stage, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("stage", choices=("all", "draw", *filter(None, ROWS.values()), *ROWS, "table"), nargs="+")
    parser.add_argument("--out", type=Path, default=Path("out/teaching"))
    parser.add_argument("--films", type=int, default=20)
    parser.add_argument("--boards", type=int, default=24, help="unseen boards of each kind")
    parser.add_argument("--variant", default="sparse")
    args, options = parser.parse_known_args()
    add_place()
    stages = ["draw", "boards", "plain", *ROWS, "table"] if "all" in args.stage else args.stage
    for stage in stages:
        if stage == "draw":
            draw_films(args.out, args.films)
        elif stage == "table":
            text = table(args.out)
            (args.out / "table.txt").write_text(text + "\n")
            sys.stdout.write(text + "\n")
        elif stage in ROWS:
            make_films(args.out, stage, args.boards, args.variant)
        else:
            teach(args.out, stage, args.variant, options)


if __name__ == "__main__":
    main()
