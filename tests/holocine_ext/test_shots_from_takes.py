"""Storyboards of which shots come from takes: any place, any order, lengths that follow; seeds of single shots."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open

import holocine_ext.cli
from holocine_ext.presets import MODELS
from holocine_ext.story.boards import from_file
from holocine_ext.story.storyboard import Storyboard
from tests.refused import refused
from tests.tiny import TinyModel, latents_in, record_of

Make = Callable[..., Path]
CAPTIONS = ["The tower", "The sea", "The lamp"]
FRAMES = ((0, 9), (9, 17), (17, 25))
TAKE = {"global_caption": "A lighthouse.", "num_frames": 25, "fps": 8, "seed": 7}
TAKE |= {"shots": [{"caption": caption, "frames": b - a} for caption, (a, b) in zip(CAPTIONS, FRAMES, strict=True)]}


@pytest.fixture(scope="module")
def words(tiny: TinyModel) -> list[str]:
    return [*tiny.flags(), "--device", "cpu", "--infer_steps", "2", "--output_type", "images"]


@pytest.fixture(scope="module")
def take(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The latents of three shots; nobody writes in their folder."""
    folder = tmp_path_factory.mktemp("takes")
    (folder / "scene.json").write_text(json.dumps(TAKE))
    size = ["--video_size", "32", "32", "--storyboard", str(folder / "scene.json")]
    assert holocine_ext.cli.main([*words, *size, "--save_path", str(folder / "take.mp4")]) == 0
    return folder / "take.safetensors"


@pytest.fixture
def make(words: list[str], take: Path, tmp_path: Path) -> Make:
    """Makes a scene of these shots; a number stands for a shot of the take. The latents."""

    def run(*shots: Any, name: str = "a", code: int = 0, **scene: Any) -> Path:  # noqa: ANN401
        board = tmp_path / f"{name}_board.json"
        tables = [{"from": f"{take}#{shot}"} if isinstance(shot, int) else shot for shot in shots]
        told = {"global_caption": "A lighthouse.", "seed": 9, "size": [32, 32], "fps": 8, "shots": tables}
        board.write_text(json.dumps(told | scene))
        path = tmp_path / f"{name}.mp4"
        assert holocine_ext.cli.main([*words, "--storyboard", str(board), "--save_path", str(path)]) == code
        return path.with_suffix(".safetensors")

    return run


def frames(latents: Path) -> list[bytes]:
    folder = latents.with_name(f"{latents.stem}_frames")
    return [Image.open(path).tobytes() for path in sorted(folder.iterdir())]


def shot(latents: Path, number: int) -> list[bytes]:
    return frames(latents)[slice(*FRAMES[number - 1])]


def noise_of(path: Path) -> list[list[int]]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["origin"])["noise"]


NEW = {"caption": "The stairs", "frames": 8}


def test_a_scene_is_lengthened(make: Make, take: Path):
    made = make(1, 2, 3, NEW, {"caption": "The door", "seconds": 1}, size=None, fps=None)
    record = record_of(made)
    assert (record["cuts"], record["num_frames"]) == ([9, 17, 25, 33], 41)
    assert record["captions"] == [*CAPTIONS, "The stairs", "The door"]
    assert (record["options"]["height"], record["storyboard"]["fps"]) == (32, 8.0)
    assert frames(made)[:25] == frames(take)
    assert [note["from"] for note in record["held"]] == [f"take.safetensors#{number}" for number in (1, 2, 3)]


def test_a_shot_is_put_between_two_and_the_order_changes(make: Make, take: Path):
    made = make(1, NEW, 3, 2)
    assert record_of(made)["cuts"] == [9, 17, 25]
    assert frames(made)[:9] == shot(take, 1)
    assert frames(made)[17:] == shot(take, 3) + shot(take, 2)


def test_what_moves_to_the_first_place_keeps_the_last_of_its_first_four_frames(make: Make, take: Path):
    made = make(2, NEW)
    assert record_of(made)["cuts"] == [5]
    assert frames(made)[:5] == shot(take, 2)[3:]
    assert torch.equal(latents_in(made)[:, :, 1:2], latents_in(take)[:, :, 4:5])
    assert not torch.equal(latents_in(made)[:, :, 0], latents_in(take)[:, :, 3])


def test_what_moves_from_the_first_place_begins_with_its_frame_four_times(make: Make, take: Path):
    made = make(NEW, 1)
    first = shot(take, 1)
    assert record_of(made)["cuts"] == [9]
    assert frames(made)[9:] == first[:1] * 3 + first
    assert torch.equal(latents_in(made)[:, :, 4:], latents_in(take)[:, :, 1:3])


def test_a_shot_that_moved_twice_is_again_as_it_was(make: Make, take: Path):
    moved = make(2, NEW)
    board = {"from": f"{moved}#1"}
    made = make(NEW, board, name="b")
    assert frames(made)[9:] == shot(take, 2)
    assert torch.equal(latents_in(made)[:, :, 3:], latents_in(take)[:, :, 3:5])


def test_such_a_film_is_made_again_from_its_record_and_its_latents_alone(words: list[str], make: Make, tmp_path: Path):
    made = make({**NEW, "seed": 3}, 1, NEW)
    again = tmp_path / "again.mp4"
    assert holocine_ext.cli.main([*words, "--take", str(made), "--save_path", str(again)]) == 0
    assert torch.equal(latents_in(again.with_suffix(".safetensors")), latents_in(made))
    assert frames(again.with_suffix(".safetensors")) == frames(made)


def test_a_seed_of_a_shot_is_noise_of_its_own(make: Make):
    made, other = make(NEW, {**NEW, "seed": 3}, NEW), make({**NEW, "seed": 3}, NEW, name="b")
    assert noise_of(made) == [[9, 7, 0, 3], [3, 2, 0, 2], [9, 7, 5, 2]]
    assert noise_of(other) == [[3, 3, 0, 3], [9, 5, 3, 2]]
    assert record_of(made)["directions"] == [{}, {"seed": 3}, {}]


def test_a_guidance_scale_of_a_shot_is_for_its_frames(make: Make, tmp_path: Path, words: list[str]):
    made, plain = make(NEW, {**NEW, "guidance_scale": 1.5}), make(NEW, NEW, name="b")
    assert record_of(made)["directions"] == [{}, {"guidance_scale": 1.5}]
    assert not torch.equal(latents_in(made), latents_in(plain))
    same = make({**NEW, "guidance_scale": 5}, {**NEW, "guidance_scale": 5.0}, name="c")
    assert torch.allclose(latents_in(same), latents_in(plain), atol=1e-4)
    again = tmp_path / "again.mp4"
    assert holocine_ext.cli.main([*words, "--take", str(made), "--save_path", str(again)]) == 0
    assert torch.equal(latents_in(again.with_suffix(".safetensors")), latents_in(made))


def test_a_strength_makes_a_shot_of_a_take_anew(make: Make, take: Path):
    made = make(1, {"from": f"{take}#2", "strength": 0.9, "caption": "The sea at night", "seed": 3}, 3)
    assert [shot(made, number) == shot(take, number) for number in (1, 2, 3)] == [True, False, True]
    assert noise_of(made) == [[7, 7, 0, 3], [3, 2, 0, 2], [7, 7, 5, 2]]


def test_a_storyboard_without_directions_is_what_it_was():
    assert Storyboard.of("A lighthouse.", CAPTIONS).directions == ()


@pytest.mark.parametrize(
    ("shots", "said"),
    [
        ([{"from": "gone.mp4#1"}, NEW], r"shot 1: from: .*gone.mp4: no such file"),
        ([{"from": "take.mp4"}, NEW], r"shot 1: from 'take.mp4': must be the file of a take and the number"),
        ([{"from": "take.mp4#x"}, NEW], "must be the file of a take"),
        ([{"from": "TAKE#4"}, NEW], "shot 1: from .*#4: the take has shots 1 to 3"),
        ([{"from": "TAKE#0"}, NEW], "the take has shots 1 to 3"),
        ([{"from": "TAKE#1", "seconds": 2}, NEW], "shot 1: a shot from a take has the length that it has there"),
        ([{"from": "TAKE#1", "cut_frame": 0}, NEW], "give no cut_frame"),
        ([{"from": "TAKE#1"}, {"caption": "The sea"}], "shot 2: no seconds or frames; beside a shot from a take"),
        ([{"from": "TAKE#1", "seed": 2}, NEW], "shot 1: seed: a shot that is as in its take takes none"),
        ([{"from": "TAKE#1", "strength": 1.5}, NEW], "shot 1: strength 1.5: must lie between"),
        ([{**NEW, "strength": 0.5}], "shot 1: strength 0.5: says how much of a take is made anew; give from, too"),
        ([{**NEW, "seed": -1}], "shot 1: seed -1: must lie between"),
        ([{**NEW, "take": "TAKE#1"}], "shot 1: take: unknown field; did you mean from"),
        ([{"from": 3}], "shot 1: from 3: must be text"),
    ],
)
def test_what_is_refused(take: Path, tmp_path: Path, shots: list[dict[str, Any]], said: str):
    text = json.dumps({"global_caption": "A lighthouse.", "shots": shots}).replace("TAKE", str(take))
    (tmp_path / "board.json").write_text(text)
    with refused(said):
        from holocine_ext.request import scene_request

        scene_request(from_file(tmp_path / "board.json"), MODELS["nano"]["full"], {})


def test_a_guidance_scale_of_a_shot_needs_the_negative_pass(tmp_path: Path):
    from holocine_ext.request import scene_request

    board = {"global_caption": "A lighthouse.", "shots": [{**NEW, "guidance_scale": 3}]}
    (tmp_path / "board.json").write_text(json.dumps(board))
    with refused("--guidance_scale 1: a shot has a guidance scale of its own"):
        scene_request(from_file(tmp_path / "board.json"), MODELS["nano"]["full"], {"guidance_scale": 1.0})


def test_a_take_of_another_size_is_refused(take: Path, tmp_path: Path):
    from holocine_ext.request import scene_request

    board = {"global_caption": "A lighthouse.", "size": [64, 64], "shots": [{"from": f"{take}#1"}, NEW]}
    (tmp_path / "board.json").write_text(json.dumps(board))
    with refused("is of 32x32 pixels, this video of 64x64"):
        scene_request(from_file(tmp_path / "board.json"), MODELS["nano"]["full"], {})


def test_a_film_of_takes_alone_runs_no_transformer(make: Make, take: Path):
    made = make(1, 3)
    record = record_of(made)
    assert (record["passes"], record["attention"]) == (0, None)
    assert torch.equal(latents_in(made)[:, :, 3:], latents_in(take)[:, :, 5:])
    assert frames(made) == shot(take, 1) + shot(take, 3)
