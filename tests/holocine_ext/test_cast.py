"""A cast: pictures or shots of takes that every shot sees, that are held, and that the film does not show."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import holocine_ext.cli
from tests.tiny import TinyModel, impatient, latents_in, record_of
from wan2.plan.pictures import fit
from wan2.run.pixels import place

Make = Callable[..., Path]
SHOTS = [{"caption": "The tower", "frames": 9}, {"caption": "The sea", "frames": 8}]
MEMBER = {"image": "keeper.png", "caption": "Close-up of the keeper."}
SCENE = {"global_caption": "A lighthouse.", "seed": 9, "size": [32, 32], "fps": 8}


@pytest.fixture
def make(tiny: TinyModel, tmp_path: Path) -> Make:
    """Makes a scene with a cast; its latents."""
    Image.new("RGB", (40, 40), "orange").save(tmp_path / "keeper.png")
    (tmp_path / "broken.png").write_bytes(b"PNG")

    def run(*cast: dict[str, Any], name: str = "a", words: list[str] | None = None, code: int = 0) -> Path:
        board, path = tmp_path / f"{name}_board.json", tmp_path / f"{name}.mp4"
        board.write_text(json.dumps(SCENE | {"shots": SHOTS} | ({"cast": cast} if cast else {})))
        how = ["--device", "cpu", "--infer_steps", "2", "--save_path", str(path)]
        scene = ["--storyboard", str(board)] if words is None else words
        assert holocine_ext.cli.main([*tiny.flags(), *how, *scene]) == code
        return path.with_suffix(".safetensors")

    return run


def test_the_cast_is_seen_and_not_shown(make: Make):
    alone, beside = make(name="alone"), make(MEMBER, name="beside")
    record = record_of(beside)
    assert (record["num_frames"], record["cuts"], len(record["captions"])) == (17, [9], 2)
    assert latents_in(beside).shape == latents_in(alone).shape
    assert not torch.equal(latents_in(beside), latents_in(alone))
    assert record["storyboard"]["prompt"].endswith("[shot cut] Close-up of the keeper.")
    (told,) = record["cast"]
    assert (told["image"], told["latent_frames"]) == ("keeper.png", 3)


def test_its_noise_changes_nothing_of_that_of_the_film(make: Make):
    with safe_open(make(MEMBER), "pt") as file:
        origin = json.loads(file.metadata()["origin"])
    assert origin["noise"] == [[9, 5, 0, 5], [9, 8, 5, 3]]
    assert origin["pieces"] == [[5, 3, 0, 1, 0.0]]


def test_a_shot_of_a_take_is_one_of_the_cast(make: Make):
    take = make(name="take")
    made = make({"from": f"{take}#2", "caption": "The sea"}, name="made")
    assert [note["latent_frames"] for note in record_of(made)["cast"]] == [2]
    assert torch.equal(load_file(made)["source.0"][:, :, 3:], latents_in(take)[:, :, 3:])


def test_such_a_film_is_made_again_without_its_picture(make: Make, tmp_path: Path):
    made = make(MEMBER)
    (tmp_path / "keeper.png").unlink()
    again = make(name="again", words=["--take", str(made)])
    assert torch.equal(latents_in(again), latents_in(made))
    assert record_of(again)["cast"] == record_of(made)["cast"]
    shot = make(name="shot", words=["--take", str(made), "--reshoot", "2", "--seed", "1"])
    assert torch.equal(latents_in(shot)[:, :, :3], latents_in(made)[:, :, :3])
    assert not torch.equal(latents_in(shot)[:, :, 3:], latents_in(made)[:, :, 3:])
    assert record_of(shot)["cast"] == record_of(made)["cast"]


def test_a_run_with_a_cast_goes_on_bit_for_bit(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = make(MEMBER, name="whole")
    monkeypatch.setattr("wan2.cli.main.Console", impatient(1))
    state = make(MEMBER, name="cut", code=130).with_name("cut.state.safetensors")
    monkeypatch.undo()
    (tmp_path / "keeper.png").unlink()
    made = make(name="cut", words=["--resume", str(state)])
    assert torch.equal(latents_in(made), latents_in(whole))
    assert record_of(made)["cast"] == record_of(whole)["cast"]


BAD: dict[str, tuple[Any, str]] = {
    "neither": ({"caption": "A"}, "needs one of image"),
    "both": ({**MEMBER, "from": "a.mp4#1"}, "needs one of image"),
    "no caption": ({"image": "keeper.png"}, "cast 1: caption: missing"),
    "no picture": ({**MEMBER, "image": "no.png"}, "cast 1: .*no.png: no such file"),
    "no image": ({**MEMBER, "image": "a_board.json"}, "is no picture; must end in .png"),
    "broken": ({**MEMBER, "image": "broken.png"}, "is no picture that can be read"),
    "no number": ({"from": "a.mp4", "caption": "A"}, "must be the file of a take and the number"),
    "no take": ({"from": "a.mp4#1", "caption": "A"}, "a.mp4: no such file"),
    "length": ({**MEMBER, "seconds": 2}, "seconds: unknown field"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_cast_is_refused(name: str, make: Make, capsys: pytest.CaptureFixture[str]):
    member, rule = BAD[name]
    make(member, code=2)
    assert re.search(rule, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((832, 480), "832x480"),
        ((1664, 960), "1664x960, resized to 832x480"),
        ((900, 700), "900x700, cropped to 900x519, resized to 832x480"),
        ((480, 832), "480x832, resized to 277x480, with a plain border up to 832x480"),
    ],
)
def test_how_a_picture_is_fitted_is_said(given: tuple[int, int], words: str):
    assert str(fit(given, (832, 480))) == words


def test_a_border_has_the_colour_of_the_edge_and_the_picture_is_whole():
    picture = Image.new("RGB", (10, 40), (0, 0, 200))
    picture.paste((250, 0, 0), (4, 10, 6, 30))
    made = np.array(place(picture, (64, 32)))
    assert made.shape == (32, 64, 3)
    assert (made[:, :24] == (0, 0, 200)).all() and (made[:, 40:] == (0, 0, 200)).all()
    assert made[16, 32][0] > 200
