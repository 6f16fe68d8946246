"""Videos that begin from another: any film, brought to size and rate, or a take at another size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import holocine_ext.cli
import wan2.cli.main
from tests.tiny import TinyModel, impatient, latents_in, record_of
from wan2.run.pixels import sampled
from wan2.run.video_io import VideoWriter

Make = Callable[..., Path]
SCENE = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "--seed", "3"]
QUICK = ["--device", "cpu", "--infer_steps", "4", "--output_type", "images"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Fifty frames of 48x40 at 24 a second, from dark to bright."""
    with VideoWriter(tmp_path / "clip.mp4", 24, (48, 40), {}, 16) as writer:
        for number in range(50):
            writer.write(np.full((40, 48, 3), 5 * number, np.uint8))
    return tmp_path / "clip.mp4"


@pytest.fixture
def make(tiny: TinyModel, tmp_path: Path) -> Make:
    """Makes a video by one of the command lines; its latents."""

    def run(name: str, *words: str, main: Any = holocine_ext.cli.main, code: int = 0) -> Path:  # noqa: ANN401
        path = tmp_path / f"{name}.mp4"
        assert main([*tiny.flags(), *QUICK, *words, "--save_path", str(path)]) == code
        return path.with_suffix(".safetensors")

    return run


SMALL = ["--video_size", "32", "32", "--fps", "8"]


def test_a_video_has_the_length_of_the_one_that_it_begins_from(make: Make, clip: Path):
    begun = make("begun", *SCENE, *SMALL, "--video_path", str(clip), "--strength", "0.6")
    record = record_of(begun)
    assert (record["num_frames"], record["begun"]["from"], record["begun"]["strength"]) == (17, "clip.mp4", 0.6)
    assert not torch.equal(latents_in(begun), latents_in(make("alone", *SCENE, *SMALL, "--video_length", "17")))


def test_little_strength_leaves_the_latents_of_the_clip_and_takes_few_passes(make: Make, clip: Path):
    made = make("made", *SCENE, *SMALL, "--video_path", str(clip), "--strength", "0.01")
    source = load_file(made)["source.0"]
    assert (latents_in(made) - source).abs().mean() < 0.5 * source.abs().mean()
    assert record_of(made)["passes"] == 2


def test_such_a_video_is_made_again_from_its_own_latents(make: Make, clip: Path):
    made = make("made", *SCENE, *SMALL, "--video_path", str(clip), "--strength", "0.6")
    clip.unlink()
    again = make("again", "--take", str(made))
    assert torch.equal(latents_in(again), latents_in(made))
    assert record_of(again)["begun"] == record_of(made)["begun"]


@pytest.mark.parametrize("main", [holocine_ext.cli.main, wan2.cli.main.main], ids=["extension", "base"])
def test_such_a_run_goes_on_bit_for_bit_by_its_state_alone(
    make: Make,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    main: Callable[..., int],
    tmp_path: Path,
):
    scene = SCENE if main is holocine_ext.cli.main else ["--prompt", "A lighthouse.", "--seed", "3"]
    words = [*scene, *SMALL, "--video_path", str(clip), "--strength", "0.95"]
    whole = make("whole", *words, main=main)
    with monkeypatch.context() as patch:
        patch.setattr("wan2.cli.main.Console", impatient(2))
        make("cut", *words, main=main, code=130)
    clip.unlink()
    assert main(["--resume", str(tmp_path / "cut.state.safetensors")]) == 0
    assert torch.equal(latents_in(tmp_path / "cut.safetensors"), latents_in(whole))
    assert record_of(tmp_path / "cut.safetensors")["begun"] == record_of(whole)["begun"]


def test_a_take_is_refined_at_another_size_by_the_low_noise_expert_alone(make: Make, tmp_path: Path):
    take = make("take", *SCENE, *SMALL, "--video_length", "9")
    made = make("made", "--take", str(take), "--video_size", "48", "64", "--strength", "0.35")
    record = record_of(made)
    assert tuple(latents_in(made).shape) == (1, 16, 3, 6, 8) and record["passes"] == 2
    assert record["begun"] == {"from": "take.safetensors", "strength": 0.35} | {
        "fingerprint": record["begun"]["fingerprint"]
    }
    same = make("same", "--take", str(take), "--strength", "0.35", "--seed", "3")
    assert torch.equal(load_file(same)["source.0"], latents_in(take))
    assert Image.open(tmp_path / "made_frames" / "00000.png").size == (64, 48)


def test_frames_are_taken_at_the_moments_of_a_steady_rate():
    frames = [(number / 24, number) for number in range(24)]
    found = sampled(frames, 8)  # type: ignore[arg-type]
    assert [next(found) for _ in range(10)] == [1, 4, 7, 10, 13, 16, 19, 22, 23, 23]
    doubled = sampled([(0.0, 0), (0.5, 1)], 4)  # type: ignore[arg-type]
    assert [next(doubled) for _ in range(4)] == [0, 0, 1, 1]


BAD: dict[str, tuple[list[str], str]] = {
    "no strength": ([*SCENE, "--video_path", "CLIP"], "needs --strength"),
    "strength alone": ([*SCENE, "--strength", "0.5"], "give one of them"),
    "all": ([*SCENE, "--video_path", "CLIP", "--strength", "1"], "must lie between 0.01 and 0.99"),
    "absent": ([*SCENE, "--video_path", "no.mp4", "--strength", "0.5"], "no such file"),
    "no video": ([*SCENE, "--video_path", "TEXT", "--strength", "0.5"], "is not a video that can be read"),
    "short": (
        [*SCENE, *SMALL, "--video_length", "33", "--video_path", "CLIP", "--strength", "0.5"],
        "video has 33",
    ),
    "take": (["--take", "a.mp4", "--video_path", "CLIP", "--strength", "0.5"], "two ways of saying"),
    "list": (["--from_file", "TEXT", "--video_path", "CLIP", "--strength", "0.5"], "two ways of giving a scene"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_begun_from_is_refused(name: str, make: Make, clip: Path, capsys: pytest.CaptureFixture[str]):
    words, rule = BAD[name]
    text = clip.with_name("text.txt")
    text.write_text("scene.json\n")
    make("bad", *[{"CLIP": str(clip), "TEXT": str(text)}.get(word, word) for word in words], code=2)
    assert rule in capsys.readouterr().err


def test_the_base_begins_from_an_earlier_run(make: Make):
    base = wan2.cli.main.main
    take = make("take", "--prompt", "A tower", *SMALL, "--video_length", "9", "--seed", "5", main=base)
    again = make("again", "--take", str(take), main=base)
    assert torch.equal(latents_in(again), latents_in(take))
    large = make("large", "--take", str(take), "--strength", "0.4", "--video_size", "48", "48", main=base)
    assert tuple(latents_in(large).shape[2:]) == (3, 6, 6)
    twice = make("twice", "--take", str(large), main=base)
    assert torch.equal(latents_in(twice), latents_in(large))


@pytest.mark.parametrize(("words", "rule"), [
    (["--prompt", "A", "--strength", "0.5"], "give one of them"),
    (["--take", "no.mp4"], "no such file"),
    (["--from_file", "list.txt", "--video_path", "a.mp4", "--strength", "0.5"], "cannot go with --from_file"),
])  # fmt: skip
def test_the_base_refuses_the_same(make: Make, capsys: pytest.CaptureFixture[str], words: list[str], rule: str):
    make("bad", *words, main=wan2.cli.main.main, code=2)
    assert rule in capsys.readouterr().err


def test_the_clip_is_never_written_over(make: Make, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    before = clip.read_bytes()
    begins = ["--video_path", str(clip), "--strength", "0.6", "--output_type", "video"]
    make("clip", *SCENE, *SMALL, *begins, "--overwrite", code=2)
    make("clip", "--prompt", "a gull", *SMALL, *begins, "--overwrite", main=wan2.cli.main.main, code=2)
    lines = capsys.readouterr().err.splitlines()
    said = f"its video would be {clip}, which is --video_path {clip}"
    assert [line.endswith(said) for line in lines if "--save_path" in line] == [True, True]
    assert clip.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
