"""How well can cuts of nano's world be found at all? `python -m benchmarks.cut_ceiling` scores its own drawings.

A model of that world cannot be told to do better than this row. It goes up when neighbouring shots differ more.
"""

from __future__ import annotations

import argparse
import sys
import time
from random import Random
from statistics import fmean

from holocine_ext.evaluate.clip import clip_of_pictures
from holocine_ext.evaluate.cuts import CutScore, score_cuts
from holocine_ext.evaluate.detect import DETECTORS, Detector, open_detector
from holocine_ext.evaluate.nano_world.world import Scene, draw, random_cuts, random_scene

SEED = 30_000_000
LONGEST, MOST_SHOTS, SHORTEST_SHOT = 97, 6, 9
FPS = 8.0


def scene_of(number: int) -> Scene:
    """A scene of one to six shots in turn; the more there are, the longer the film."""
    rng = Random(SEED + number)
    shots = 1 + number % MOST_SHOTS
    num_frames = 33 + 4 * rng.randint(min(16, 4 * (shots - 1)), 16)
    return random_scene(rng, num_frames, random_cuts(rng, num_frames, shots, SHORTEST_SHOT))


def score_scene(number: int, detect: Detector) -> CutScore:
    """The cuts that are found in one scene's drawings."""
    scene = scene_of(number)
    return score_cuts(scene.cuts, detect(clip_of_pictures(draw(scene), FPS)), scene.num_frames)


def main() -> None:
    """Score, and print what went wrong and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--detector", choices=DETECTORS, default=DETECTORS[0])
    args = parser.parse_args()
    detect = open_detector(args.detector, "cpu")
    started = time.monotonic()
    scores = []
    for number in range(args.scenes):
        scores.append(score_scene(number, detect))
        if scores[-1].found != scores[-1].asked:
            sys.stdout.write(f"scene {number}: asked {scores[-1].asked}, found {scores[-1].found}\n")
    sys.stdout.write(
        f"{args.detector}: SCA {fmean(score.sca for score in scores):.4f}, right number of cuts "
        f"{fmean(score.right_count for score in scores):.3f} on {len(scores)} scenes, "
        f"{time.monotonic() - started:.0f} s\n"
    )


if __name__ == "__main__":
    main()
