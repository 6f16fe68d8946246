"""Films of nano's world for the tests of teaching: at any rate, with or without their storyboards."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from holocine_ext.evaluate.nano_world.captions import describe
from holocine_ext.evaluate.nano_world.world import Scene, draw, random_cuts, random_scene
from wan2.run.video_io import VideoWriter

FPS = 8.0


def scene_of(seed: int, num_frames: int = 33, shots: int = 2) -> Scene:
    rng = Random(seed)
    return random_scene(rng, num_frames, random_cuts(rng, num_frames, shots))


def write_film(path: Path, scene: Scene, fps: float = FPS, repeats: int = 1) -> Path:
    """The drawings of a scene as a film; every frame `repeats` times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps, (64, 64), {}, crf=4) as writer:
        for frame in draw(scene):
            for _ in range(repeats):
                writer.write(frame)
    return path


def write_board(path: Path, scene: Scene, seed: int, cuts: list[int] | None = None) -> Path:
    """The storyboard of a scene, with captions."""
    captions = next(c for c in (describe(Random(seed + i), scene) for i in range(99)) if c.global_caption is not None)
    starts = [0, *(scene.cuts if cuts is None else cuts)]
    shots = [{"caption": text, "cut_frame": start} for text, start in zip(captions.shots, starts, strict=True)]
    path.write_text(json.dumps({"global_caption": captions.global_caption, "shots": shots}))
    return path
