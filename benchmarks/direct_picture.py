"""The picture of docs/directing.md: a film of the miniature, and what is made beside it. `python -m ...direct_picture`.

A row is a film, a picture a shot: its middle frame. Films that are there already are only shown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from holocine_ext.evaluate.nano_world.world import SIZE, Character, Scene, Shot, draw_at
from wan2.run.video_io import read_video

ROOT = Path(__file__).parents[1]
SCENE = "[character1] is a red ball. The scene is the snow."
SHOTS = (
    "Wide shot of [character1] walking to the right by day.",
    "Close-up of [character1] standing still at night.",
    "Wide shot of [character1] going left in daylight.",
    "Close-up of [character1] waiting by day.",
    "Wide shot of [character1] walking to the left at night.",
    "Close-up of [character1] going right by day.",
    "Wide shot of [character1] standing still at night.",
    "Close-up of [character1] walking to the left by day.",
)
FRAMES, LABEL, GAP = 12, 92, 4
WANTED = "Close-up of [character1] standing still by day."
OTHER = ["--global_caption", "[character1] is a red ball. The scene is a desert.", "--shot_captions", *SHOTS[:3]]
TAKE, ANEW = ["--take", "take.mp4", "--seed", "9"], ["--reshoot", "2"]
CLIP = ["--video_path", "take.mp4", "--strength", "0.9", "--seed", "9", "--shot_cut_frames", "13", "25"]
# A row: its name, and the words of the command line.
ROWS: tuple[tuple[str, list[str]], ...] = (
    ("take", ["--storyboard", "three.json"]),
    ("reshoot 2", [*TAKE, *ANEW]),
    ("edited 2", [*TAKE, *ANEW, "--strength", "0.8", "--shot_captions", WANTED]),
    ("lengthened", ["--storyboard", "five.json"]),
    ("cast", ["--storyboard", "cast.json"]),
    ("windows", ["--storyboard", "long.json"]),
    ("from a video", [*CLIP, *OTHER]),
    ("refined", [*TAKE, "--strength", "0.35", "--video_size", "96", "96"]),
)


def write_boards(folder: Path) -> None:
    """The storyboards, and the drawing of the cast."""
    shots = [{"caption": caption, "frames": FRAMES + (not place)} for place, caption in enumerate(SHOTS)]
    boards = {
        "three": {"shots": shots[:3], "seed": 3},
        "five": {"shots": [*({"from": f"take.mp4#{n}"} for n in (1, 2, 3)), *shots[4:6]], "seed": 9},
        "cast": {"shots": shots[:3], "seed": 5, "cast": [{"image": "drawn.png", "caption": WANTED}]},
        "long": {"shots": shots, "seed": 3},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, board in boards.items():
        (folder / f"{name}.json").write_text(json.dumps({"global_caption": SCENE, "fps": 8} | board))
    (shot,) = shots_drawn = (Shot(0, 1, "close", "still", "day", "left"),)
    scene = Scene("snow", "cyan", (Character("red", "circle"),), shots_drawn)
    Image.fromarray(draw_at(scene, shot, np.array([SIZE / 2], np.float32))[0]).save(folder / "drawn.png")


def make(name: str, words: Sequence[str], folder: Path) -> list[Image.Image]:
    """Make a film that is not there yet; a picture of every shot."""
    path = folder / f"{name.replace(' ', '_')}.mp4"
    if not path.exists():
        script = [sys.executable, str(ROOT / "holocine_generate_video.py"), "--model", "nano", "--quiet"]
        subprocess.run([*script, *words, "--save_path", path.name], cwd=folder, check=True)
    frames = read_video(path)
    cuts = [0, *json.loads(path.with_suffix(".json").read_text())["cuts"], len(frames)]
    return [Image.fromarray(frames[(a + b) // 2]) for a, b in zip(cuts, cuts[1:], strict=False)]


def main() -> None:
    """Make the films and put them together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/direct_picture"))
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "directing.png")
    args = parser.parse_args()
    write_boards(args.out)
    rows = [(name, make(name, words, args.out)) for name, words in ROWS]
    drawn = Image.open(args.out / "drawn.png")
    sheet = Image.new("RGB", (LABEL + (SIZE + GAP) * len(SHOTS), (SIZE + GAP) * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (name, pictures) in enumerate(rows):
        top = row * (SIZE + GAP)
        pen.text((4, top + SIZE // 2 - 6), name, fill="black")
        for place, picture in enumerate([*pictures, *([drawn] if name == "cast" else [])]):
            gap = (SIZE + GAP) * (place + (name == "cast" and place == len(pictures)))
            sheet.paste(picture.resize((SIZE, SIZE)), (LABEL + gap, top))
    sheet.quantize(256).save(args.picture, optimize=True)


if __name__ == "__main__":
    main()
