"""Are cuts between camera moves over photographs found? `python -m benchmarks.cut_trial` joins clips of known cuts.

The photographs are those that scikit-image ships (`pip install scikit-image`). A hand-held camera pans and zooms over
one after another, with grain and a slow change of exposure; the clips are joined, written as H.264 and read back.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from holocine_ext.evaluate.clip import read_clip
from holocine_ext.evaluate.detect import DETECTORS, open_detector
from wan2.run.video_io import VideoWriter

SEED = 50_000_000
HEIGHT, WIDTH = 144, 256
RATES = (15, 16, 24)
SHORTEST, LONGEST = 14, 48
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip


def photographs() -> list[Image.Image]:
    """The pictures, RGB, all large enough for the camera to move over."""
    try:
        import skimage
    except ImportError:
        sys.exit("scikit-image is not installed; its photographs are needed: pip install scikit-image")
    folder = Path(skimage.__file__).parent / "data"
    return [Image.open(folder / name).convert("RGB") for name in PHOTOGRAPHS]


def camera_move(picture: Image.Image, frames: int, rng: Random) -> list[NDArray[np.uint8]]:
    """A hand-held pan and zoom over a picture: uint8 frames [HEIGHT, WIDTH, 3]."""
    start, end = ([rng.uniform(0.0, 1.0), rng.uniform(0.0, 1.0), rng.uniform(0.55, 0.9)] for _ in range(2))
    exposure, grain = rng.uniform(-0.15, 0.15), np.random.default_rng(rng.getrandbits(32))
    largest = min(picture.width, picture.height * WIDTH / HEIGHT)
    clip = []
    for i in range(frames):
        t = i / max(1, frames - 1)
        x, y, size = (a + (b - a) * t * min(1.0, frames / LONGEST) for a, b in zip(start, end, strict=True))
        width = largest * size
        height = width * HEIGHT / WIDTH
        left = x * (picture.width - width) + rng.gauss(0, 0.4)
        top = y * (picture.height - height) + rng.gauss(0, 0.4)
        view = picture.resize(
            (WIDTH, HEIGHT), Image.Resampling.BILINEAR,
            box=(max(0.0, left), max(0.0, top), min(picture.width, left + width), min(picture.height, top + height)),
        )  # fmt: skip
        light = np.asarray(view, np.float32) * (1 + exposure * t) + grain.normal(0, 3, (HEIGHT, WIDTH, 3))
        clip.append(np.clip(light, 0, 255).astype(np.uint8))
    return clip


def write_film(path: Path, pictures: Sequence[Image.Image], rng: Random) -> list[int]:
    """Write a film of three to six shots, no two neighbours of one photograph; its cuts."""
    shots = rng.sample(pictures, rng.randint(3, 6))
    cuts = [0]
    with VideoWriter(path, rng.choice(RATES), (WIDTH, HEIGHT), {}, crf=20) as writer:
        for picture in shots:
            clip = camera_move(picture, rng.randint(SHORTEST, LONGEST), rng)
            cuts.append(cuts[-1] + len(clip))
            for frame in clip:
                writer.write(frame)
    return cuts[1:-1]


def main() -> None:
    """Write, find, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--detector", choices=DETECTORS[:2], default=DETECTORS[0])
    args = parser.parse_args()
    detect, pictures = open_detector(args.detector, "cpu"), photographs()
    asked = met = extra = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(range(args.films)):
            path = Path(folder) / "film.mp4"
            cuts = write_film(path, pictures, Random(SEED + number))
            found = detect(read_clip(path))
            near = [cut for cut in cuts if any(abs(cut - at) <= 1 for at in found)]
            asked, met, extra = asked + len(cuts), met + len(near), extra + len(found) - len(near)
            assert all(a < b for a, b in pairwise(cuts))
    sys.stdout.write(
        f"{args.detector}: {met} of {asked} cuts within a frame ({met / asked:.3f}), {extra} found where none is; "
        f"{args.films} films of {len(pictures)} photographs\n"
    )


if __name__ == "__main__":
    main()
