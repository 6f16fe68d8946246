"""The moving picture of the README: one scene with several seeds, the caption of the running shot below it.

Make the videos first, then the picture:

    for n in 7 2 4; do python holocine_generate_video.py --model nano --storyboard examples/nano_three_shots.toml \\
        --seed $n --save_path out/seed_$n.mp4; done
    python -m benchmarks.moving_picture out/seed_7.mp4 out/seed_2.mp4 out/seed_4.mp4

Captions and cuts are those of the record of the first video; the labels are the names of the files.
"""

from __future__ import annotations

import argparse
import json
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wan2.run.video_io import read_video

SCALE = 4
"""Every pixel of a video becomes a square of so many."""
GAP, LABEL, FOOT = 8, 22, 62
PAPER, INK, PALE, BAR = "#f7f6f3", "#22211f", "#c9c6be", "#b5472f"


@dataclass(frozen=True)
class Film:
    """A finished video: its label, its frames [T, H, W, 3] in uint8, its captions, and its cuts in frames."""

    label: str
    frames: np.ndarray
    captions: tuple[str, ...]
    cuts: tuple[int, ...]


def read_film(video: Path) -> Film:
    """A video and the record of its run, which has the same name and ends in .json."""
    record = json.loads(video.with_suffix(".json").read_text(encoding="utf-8"))
    return Film(video.stem.replace("_", " "), read_video(video), tuple(record["captions"]), tuple(record["cuts"]))


def picture(films: list[Film], number: int) -> Image.Image:
    """Frame `number` of all films side by side, each below its label, the caption and a timeline at the foot."""
    first = films[0]
    count, height, width = first.frames.shape[:3]
    size = width * SCALE, height * SCALE
    page = Image.new("RGB", (GAP + len(films) * (size[0] + GAP), LABEL + size[1] + FOOT), PAPER)
    draw, small, large = ImageDraw.Draw(page), ImageFont.load_default(13), ImageFont.load_default(17)
    for place, film in enumerate(films):
        left = GAP + place * (size[0] + GAP)
        draw.text((left + size[0] / 2, LABEL / 2), film.label, INK, small, anchor="mm")
        page.paste(Image.fromarray(film.frames[number]).resize(size, Image.Resampling.NEAREST), (left, LABEL))
    shot = bisect_right(first.cuts, number)
    top = LABEL + size[1]
    draw.text((page.width / 2, top + 22), f"{shot + 1}  {first.captions[shot]}", INK, large, anchor="mm")
    line = np.interp([0, *first.cuts, count], [0, count], [GAP, page.width - GAP])
    for index, (a, b) in enumerate(zip(line, line[1:], strict=False)):
        draw.rectangle((a, top + 44, b - 3, top + 50), BAR if index == shot else PALE)
    return page


def main() -> None:
    """Read the videos, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO", help="videos of one scene, with their records")
    parser.add_argument("--fps", type=float, default=8, help="frames per second (default: 8)")
    parser.add_argument("--save_path", type=Path, default=Path("docs/demo.webp"), help="an animated .webp or .gif")
    args = parser.parse_args()
    films = [read_film(video) for video in args.videos]
    pages = [picture(films, number) for number in range(len(films[0].frames))]
    duration = round(1000 / args.fps)
    settings = {"lossless": True, "method": 6} if args.save_path.suffix == ".webp" else {"optimize": True}
    pages[0].save(args.save_path, save_all=True, append_images=pages[1:], duration=duration, loop=0, **settings)


if __name__ == "__main__":
    main()
