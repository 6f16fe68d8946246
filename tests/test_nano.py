"""The shipped miniature: small enough, whole, and it does what its captions say. Real runs of the real script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.nano_control import held_out, score, table, write_storyboards
from holocine_ext.evaluate.nano_world.read import find_cuts, read_shot
from holocine_ext.evaluate.nano_world.world import draw
from holocine_ext.presets import MODELS, VARIANTS
from holocine_ext.story.boards import from_file
from wan2.run.video_io import read_metadata, read_video
from wan2.weights.checkpoint import inspect_transformer

ROOT = Path(__file__).parents[1]
NANO = ROOT / "holocine_ext" / "nano"
DEMO = ROOT / "examples" / "nano_three_shots.toml"
ASKED = [("wide", "day"), ("close", "day"), ("wide", "night")]


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in NANO.rglob("*") if path.is_file()) <= 25_000_000


@pytest.mark.parametrize("variant", VARIANTS)
def test_its_experts_say_what_they_are_and_differ(variant: str) -> None:
    experts = MODELS["nano"][variant].model.experts
    for expert in experts:
        found = inspect_transformer(expert.path)
        assert found.header.metadata["variant"] == variant and found.config.num_layers == 6
    high, low = (expert.path.read_bytes() for expert in experts)
    assert high != low


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_demo_shows_what_was_asked_for(variant: str, tmp_path: Path) -> None:
    script = [sys.executable, "holocine_generate_video.py", "--model", "nano", "--variant", variant]
    video = tmp_path / "demo.mp4"
    command = [*script, "--storyboard", str(DEMO), "--save_path", str(video)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    names = ("demo.mp4", "demo.safetensors", "demo.json", "demo_sheet.png")
    assert done.stdout.split() == [str(tmp_path / name) for name in names]
    film = read_video(video)
    assert film.shape == (33, 64, 64, 3)
    assert "red ball" in read_metadata(video)["comment"]
    cuts = find_cuts(film)
    assert len(cuts) == 2 and abs(cuts[0] - 13) <= 1 and abs(cuts[1] - 21) <= 1
    readings = [read_shot(film[a:b]) for a, b in ((0, 13), (13, 21), (21, 33))]
    assert [(seen.framing, seen.light) for seen in readings] == ASKED
    assert {seen.place for seen in readings} == {"meadow"} and {seen.colour for seen in readings} == {"red"}
    assert len({seen.hat for seen in readings}) == 1


def test_held_out_storyboards_are_read_as_they_were_drawn(tmp_path: Path) -> None:
    scenes = held_out(3)
    listing = write_storyboards(scenes, tmp_path)
    for line, scene in zip(listing.read_text().splitlines(), scenes, strict=True):
        storyboard = from_file(Path(line))
        assert len(storyboard.shot_captions) == len(scene.shots) and storyboard.num_frames == scene.num_frames
    drawn = score("drawn", scenes, [draw(scene) for scene in scenes])
    assert drawn.cuts == 1.0 and set(drawn.facts.values()) == {1.0} and drawn.hat == 1.0
    assert "| drawn | 1.000 |" in table([drawn])
