"""Runs that begin from earlier ones: all of a take again, some of its shots anew, the others held to the byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import holocine_ext.cli
from tests.tiny import QUICK, TinyModel, impatient, latents_in, record_of
from wan2.run.video_io import read_metadata

SCENE = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", "The lamp"]
SHOTS = [*SCENE, "--shot_cut_frames", "9", "17", "--video_length", "25"]
FRAMES = ((0, 9), (9, 17), (17, 25))
Make = Callable[..., Path]
"""Runs the extension's command line with the tiny model; the path of the file it was asked for."""


@pytest.fixture(scope="module")
def first(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The latents of a first run; its frames, record and sheet lie next to them. Nobody writes there."""
    path = tmp_path_factory.mktemp("first") / "first.mp4"
    words = [*tiny.flags(), *QUICK, *SHOTS, "--output_type", "images", "--save_path", str(path)]
    assert holocine_ext.cli.main(words) == 0
    return path.with_suffix(".safetensors")


@pytest.fixture
def make(tiny: TinyModel, tmp_path: Path) -> Make:
    def run(*words: str | Path, name: str = "a", kind: str = "images", code: int = 0) -> Path:
        path = tmp_path / f"{name}.mp4"
        shared = [*tiny.flags(), "--device", "cpu", "--output_type", kind, "--save_path", str(path)]
        assert holocine_ext.cli.main([*shared, *map(str, words)]) == code
        return path.with_suffix(".safetensors")

    return run


def frames(latents: Path) -> list[bytes]:
    """The pixels of every frame."""
    from PIL import Image

    folder = latents.with_name(f"{latents.stem}_frames")
    return [Image.open(path).tobytes() for path in sorted(folder.iterdir())]


def shot(latents: Path, number: int) -> list[bytes]:
    return frames(latents)[slice(*FRAMES[number - 1])]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_take_with_nothing_beside_it_is_made_again_bit_for_bit(first: Path, make: Make, suffix: str):
    again = make("--take", first.with_suffix(suffix))
    assert torch.equal(latents_in(again), latents_in(first))
    assert frames(again) == frames(first)
    assert record_of(again)["storyboard"] == record_of(first)["storyboard"]


def test_a_video_alone_is_a_take_by_the_record_it_carries(first: Path, make: Make, tmp_path: Path):
    video = make("--take", first, kind="video").with_suffix(".mp4")
    (tmp_path / "alone").mkdir()
    shutil.move(video, tmp_path / "alone")
    again = make("--take", tmp_path / "alone" / video.name, name="b")
    assert torch.equal(latents_in(again), latents_in(first))
    assert make("--take", tmp_path / "alone" / video.name, "--reshoot", "1", name="c", code=2)


@pytest.mark.parametrize("more", [["--reshoot", "1"], ["--reshoot", "2", "--strength", "0.9"]], ids=["held", "in part"])
def test_a_take_that_held_shots_is_made_again_bit_for_bit(first: Path, make: Make, more: list[str]):
    made = make("--take", first, *more, "--infer_steps", "5")
    again = make("--take", made, name="b")
    assert torch.equal(latents_in(again), latents_in(made))
    assert frames(again) == frames(made)
    other = make("--take", made, "--seed", "3", name="c")
    assert [shot(other, number) == shot(made, number) for number in (1, 2, 3)] == [
        str(number) != more[1] for number in (1, 2, 3)
    ]


def test_what_is_given_beside_a_take_wins(first: Path, make: Make):
    made = record_of(make("--take", first, "--seed", "9", "--guidance_scale", "2", "--infer_steps", "1"))
    options = made["options"]
    assert (options["seed"], options["infer_steps"], options["num_frames"]) == (9, 1, 25)
    assert (options["guidance_scale"], options["guidance_scale_high_noise"]) == (2.0, 2.0)
    assert (made["cuts"], made["held"]) == ([9, 17], [])


@pytest.mark.parametrize("variant", ["full", "sparse"])
def test_a_shot_made_anew_leaves_the_frames_of_the_others_as_they_were(
    tiny: TinyModel, first: Path, make: Make, variant: str
):
    if variant == "sparse":
        first = make(*tiny.flags("sparse"), *QUICK, *SHOTS, "--variant", "sparse", name="first")
    made = make(*tiny.flags(variant), "--take", first, "--reshoot", "2", "--seed", "8")
    assert [shot(made, number) == shot(first, number) for number in (1, 2, 3)] == [True, False, True]
    held = [note | {"latents": ""} for note in record_of(made)["held"]]
    assert held == [
        {"shot": number, "from": f"first.safetensors#{number}", "until": 0.0, "latents": ""} for number in (1, 3)
    ]
    assert torch.equal(latents_in(made)[:, :, :3], latents_in(first)[:, :, :3])
    assert torch.equal(latents_in(made)[:, :, 5:], latents_in(first)[:, :, 5:])


def test_a_take_of_a_take_keeps_the_frames_of_both(first: Path, make: Make):
    second = make("--take", first, "--reshoot", "1", "--seed", "8", name="b")
    third = make("--take", second, "--reshoot", "3", "--seed", "9", name="c")
    fourth = make("--take", third, "--reshoot", "2", "--seed", "10", name="d")
    assert shot(fourth, 1) == shot(second, 1)
    assert shot(fourth, 3) == shot(third, 3)
    assert shot(third, 2) == shot(first, 2)
    assert len({tuple(shot(path, 2)) for path in (first, fourth)}) == 2


def test_its_latents_alone_are_decoded_to_the_same_frames(tiny: TinyModel, first: Path, make: Make, tmp_path: Path):
    made = make("--take", first, "--reshoot", "1", "--seed", "8")
    words = ["--latent_path", made, "--vae", tiny.vae, "--device", "cpu", "--output_type", "images"]
    again = tmp_path / "again.mp4"
    assert holocine_ext.cli.main([*map(str, words), "--save_path", str(again)]) == 0
    assert frames(again) == frames(made)


def test_the_last_shot_made_anew_needs_nothing_of_the_take_in_its_latents(first: Path, make: Make):
    made = make("--take", first, "--reshoot", "3", "--seed", "8")
    assert load_file(made).keys() == {"latents"}
    assert shot(made, 1) + shot(made, 2) == shot(first, 1) + shot(first, 2)


def test_the_noise_of_held_shots_is_that_of_the_run_that_made_them(first: Path, make: Make):
    made = make("--take", first, "--reshoot", "1", "--seed", "8")
    with safe_open(made, "pt") as file:
        origin = json.loads(file.metadata()["origin"])
    assert origin["noise"] == [[8, 7, 0, 3], [7, 7, 3, 2], [7, 7, 5, 2]]
    other = make("--take", made, "--reshoot", "2", "--seed", "9", name="b")
    with safe_open(other, "pt") as file:
        assert json.loads(file.metadata()["origin"])["noise"] == [[8, 7, 0, 3], [9, 7, 3, 2], [7, 7, 5, 2]]


@pytest.mark.parametrize("more", [[], ["--strength", "0.9", "--hold_noise", "1"]], ids=["anew", "in part"])
def test_a_reshoot_that_was_broken_off_goes_on_bit_for_bit_by_its_state_alone(
    first: Path, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
):
    words = ["--reshoot", "2", "--seed", "8", "--infer_steps", "5", "--sample_solver", "unipc", *more]
    whole = make("--take", first, *words, name="whole")
    own = shutil.copytree(first.parent, tmp_path / "own") / first.name
    with monkeypatch.context() as patch:
        patch.setattr("wan2.cli.main.Console", impatient(3))
        make("--take", own, *words, code=130)
    shutil.rmtree(own.parent)
    made = tmp_path / "a.safetensors"
    assert holocine_ext.cli.main(["--resume", str(tmp_path / "a.state.safetensors")]) == 0
    assert torch.equal(latents_in(made), latents_in(whole))
    assert frames(made) == frames(whole)
    assert record_of(made)["held"][0]["shot"] == 1


def test_a_reshoot_goes_on_beside_its_output_with_the_seed_that_was_drawn(
    first: Path, make: Make, monkeypatch: pytest.MonkeyPatch
):
    words = ["--take", first, "--reshoot", "2", "--infer_steps", "4"]
    with monkeypatch.context() as patch:
        patch.setattr("wan2.cli.main.Console", impatient(2))
        make(*words, code=130)
    made = make(*words, "--resume")
    seed = record_of(made)["options"]["seed"]
    assert torch.equal(latents_in(make(*words, "--seed", str(seed), name="b")), latents_in(made))


def test_captions_given_beside_are_those_of_the_shots_made_anew_or_of_all(first: Path, make: Make):
    made = record_of(make("--take", first, "--reshoot", "3", "--shot_captions", "The stairs"))
    assert made["captions"] == ["The tower", "The sea", "The stairs"]
    made = record_of(make("--take", first, "--shot_captions", "One", "Two", "Three", name="b"))
    assert (made["captions"], made["options"]["seed"], made["cuts"]) == (["One", "Two", "Three"], 7, [9, 17])


def test_a_record_is_a_storyboard(first: Path, make: Make):
    made = make("--storyboard", first.with_suffix(".json"), "--infer_steps", "2")
    assert torch.equal(latents_in(made), latents_in(first))


def test_a_share_of_the_noise_and_a_strength_decide_the_latents(first: Path, make: Make):
    words = ["--take", first, "--reshoot", "2", "--seed", "8"]
    ways = [[], ["--hold_noise", "1"], ["--hold_noise", "0"], ["--strength", "0.9"]]
    made = [latents_in(make(*words, *way, name=str(number))) for number, way in enumerate(ways)]
    assert all(not torch.equal(one[:, :, 3:5], other[:, :, 3:5]) for one in made for other in made if one is not other)


def test_the_record_in_a_video_names_no_folder(first: Path, make: Make):
    video = make("--take", first, "--reshoot", "2", kind="video").with_suffix(".mp4")
    assert str(first.parent) not in read_metadata(video)["comment"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--reshoot", "1"], "--reshoot: makes shots of a take anew; give --take, too"),
        (["--take", "gone.mp4"], "--take gone.mp4: no such file"),
        (["--take", "FIRST", "--reshoot", "4"], "--reshoot 4: the take has shots 1 to 3"),
        (["--take", "FIRST", "--reshoot", "0"], "--reshoot 0: the take has shots 1 to 3"),
        (["--take", "FIRST", "--reshoot", "2", "2"], "--reshoot 2: is given twice"),
        (["--take", "FIRST", "--reshoot", "1", "2", "3"], "--reshoot: names every shot, so nothing is held"),
        (["--take", "FIRST", "--strength", "1"], "--strength 1.0: must lie between 0.01 and 0.99"),
        (["--take", "FIRST", "--reshoot", "1", "--strength", "0"], "--strength 0.0: must lie between"),
        (["--take", "FIRST", "--hold_noise", "0.5"], "--hold_noise: nothing is held"),
        (["--take", "FIRST", "--reshoot", "1", "--hold_noise", "2"], "--hold_noise 2.0: must lie between 0 and 1"),
        (["--take", "FIRST", "--reshoot", "1", "--video_size", "48", "32"], "is of 32x32 pixels, this video of 48x32"),
        (["--take", "FIRST", "--reshoot", "1", "--shot_cut_frames", "5", "17"], "--reshoot: shots are held, so length"),
        (["--take", "FIRST", "--reshoot", "1", "--video_length", "29"], "--reshoot: shots are held, so length"),
        (["--take", "FIRST", "--reshoot", "1", "3", "--shot_captions", "A"], "--shot_captions: 1 for 2 of --reshoot"),
        (["--take", "FIRST", "--from_file", "list.txt"], "two ways of giving a scene"),
        (["--take", "scene.toml"], "--take scene.toml: must end in .json, .safetensors, .mp4"),
        (["--take", "other.json"], "--take other.json: is not the record of a run"),
        (["--take", "film.mp4"], "--take film.mp4: does not say how it was made"),
        (["--take", "WEIGHTS"], "does not say how it was made"),
        (["--latent_path", "FIRST", "--take", "FIRST"], "--latent_path: only decodes, so it cannot go with --take"),
    ],
)
def test_what_is_refused(
    first: Path,
    tiny: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x08ftyp")
    (tmp_path / "scene.toml").touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    named = {"FIRST": str(first), "WEIGHTS": str(tiny.vae)}
    given = [named.get(word, word) for word in words]
    scene = [] if {"--take", "--from_file"} & {*words} else SHOTS
    code = holocine_ext.cli.main([*scene, *given, "--save_path", "a.mp4"])
    (line,) = capsys.readouterr().err.splitlines()
    assert (code, said in line) == (2, True), line
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_take_of_other_latents_is_refused(
    first: Path, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    own = shutil.copytree(first.parent, tmp_path / "own") / first.name
    other = make("--take", first, "--seed", "9", name="other")
    shutil.copy(other, own)
    make("--take", own.with_suffix(".json"), "--reshoot", "1", code=2)
    assert "holds the latents of another run than first.json" in capsys.readouterr().err
    own.unlink()
    make("--take", own.with_suffix(".json"), "--reshoot", "1", code=2)
    assert "its latents are not kept next to it" in capsys.readouterr().err


def test_a_take_is_never_written_over(first: Path, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    own = shutil.copytree(first.parent, tmp_path / "own") / first.name
    before = own.read_bytes()
    words = ["--take", str(own), "--reshoot", "1", "--overwrite", "--save_path", str(own.with_suffix(".mp4"))]
    make(*words, code=2)
    assert "which is --take" in capsys.readouterr().err
    assert own.read_bytes() == before


def test_the_takes_of_a_folder_are_a_table(first: Path, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make("--take", first, "--reshoot", "2", "--no_latents", "--seed", "8")
    (tmp_path / "other.json").write_text("{}")
    capsys.readouterr()
    for folder, row in ((tmp_path, ["a", "3", "8"]), (first.parent, ["first*", "3", "7"])):
        assert holocine_ext.cli.main(["--list_takes", str(folder)]) == 0
        head, line = capsys.readouterr().out.splitlines()
        assert head.split() == ["take", "shots", "seed", "made", "held", "scene"]
        assert line.split()[:3] == row and line.endswith("A lighthouse.")
    (tmp_path / "none").mkdir()
    for words in (["none"], ["gone"], [".", "--seed", "1"]):
        assert holocine_ext.cli.main(["--list_takes", str(tmp_path / words[0]), *words[1:]]) == 2
