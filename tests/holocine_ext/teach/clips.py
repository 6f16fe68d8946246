"""Clips of random pictures for the tiny model, and the words that train on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.tiny import TinyModel
from wan2.run.video_io import VideoWriter

BOARD = """global_caption = "{title}"
size = [32, 32]

[[shots]]
caption = "A gull, wide."

[[shots]]
cut_frame = {cut}
caption = "A boat, near."
"""


def write_clip(folder: Path, name: str, frames: int = 9, cut: int = 5, size: int = 32) -> Path:
    """A clip of two shots of noise, with its storyboard."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name) + frames)
    with VideoWriter(folder / f"{name}.mp4", 8.0, (size, size), {}, crf=10) as writer:
        for _ in range(frames):
            writer.write(rng.integers(0, 255, (size, size, 3), np.uint8))
    (folder / f"{name}.toml").write_text(BOARD.format(title=f"A harbour, {name}.", cut=cut))
    return folder / f"{name}.mp4"


def write_clips(folder: Path, count: int = 3) -> Path:
    """A folder of clips."""
    for number in range(count):
        write_clip(folder, f"clip{number}", 9 + 4 * (number % 2))
    return folder


def words(data: Path, save_path: Path, tiny: TinyModel, *more: str, variant: str = "sparse") -> list[str]:
    """A quick training of the tiny model."""
    asked = ["--data", str(data), "--save_path", str(save_path), *tiny.flags(variant), "--variant", variant]
    return [*asked, "--device", "cpu", "--steps", "3", "--rank", "2", *more]


def contents(path: Path) -> tuple[bytes, object]:
    """The bits of every tensor of a safetensors file, and its header, whose texts have no order."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return content[end:], json.loads(content[8:end])
