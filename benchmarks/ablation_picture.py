"""A scene of the ablation to look at: `python -m benchmarks.ablation_picture`, after `python -m benchmarks.ablation`.

One line of frames a row of the table, evenly spread over the same scene.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.ablation import ROWS
from wan2.run.video_io import read_video

LABELS = 132
"""Width in pixels of what stands before the frames."""
PAPER, INK = "#f7f6f3", "#22211f"


def line_of(label: str, video: Path, pictures: int) -> Image.Image:
    """A label and `pictures` frames of a video, the first and the last among them."""
    frames = read_video(video)
    strip = np.concatenate([frames[round(i)] for i in np.linspace(0, len(frames) - 1, pictures)], axis=1)
    line = Image.new("RGB", (LABELS + strip.shape[1], strip.shape[0]), PAPER)
    line.paste(Image.fromarray(strip), (LABELS, 0))
    font = ImageFont.load_default(13)
    ImageDraw.Draw(line).text((LABELS - 10, line.height / 2), label, INK, font, anchor="rm")
    return line


def main() -> None:
    """Read the videos, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--films", type=Path, default=Path("out/ablation"), help="where the rows' videos are")
    parser.add_argument("--scene", type=int, default=14, help="the number of a scene")
    parser.add_argument("--pictures", type=int, default=16, help="frames a row")
    parser.add_argument("--save_path", type=Path, default=Path("docs/ablation.png"))
    args = parser.parse_args()
    video = f"scene_{args.scene:03}.mp4"
    lines = [line_of(name.replace("_", " "), args.films / name / video, args.pictures) for name in ROWS]
    picture = Image.new("RGB", (lines[0].width, sum(line.height for line in lines)), PAPER)
    for number, line in enumerate(lines):
        picture.paste(line, (0, number * line.height))
    picture.save(args.save_path)


if __name__ == "__main__":
    main()
