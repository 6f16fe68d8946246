"""The two command lines from end to end, on a complete tiny model with random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import holocine_ext.cli
import wan2.cli.main
from tests.tiny import QUICK, TinyModel, impatient
from wan2.run.video_io import read_metadata, read_video
from wan2.streaming.layout import BlockFile, StoredBlock
from wan2.streaming.ring import BlockRing
from wan2.weights.header import read_header

ROOT = Path(__file__).parents[1]
MAIN = {"wan2": wan2.cli.main.main, "holocine": holocine_ext.cli.main}

GLOBAL = "A keeper tends a lighthouse in the rain."
SCENE = ["--global_caption", GLOBAL, "--shot_captions", "Wide view of the tower", "The sea rises", "The lamp turns"]
THREE_SHOTS = [*SCENE, "--video_length", "17", "--shot_cut_frames", "5", "9"]


@pytest.fixture
def base(tiny: TinyModel, tmp_path: Path) -> Callable[..., Path]:
    """Runs the base's command line; the path of the file it was asked for."""
    return _runner("wan2", [*tiny.flags(), *QUICK], tmp_path)


@pytest.fixture
def extension(tiny: TinyModel, tmp_path: Path) -> Callable[..., Path]:
    """Runs the extension's command line; the path of the file it was asked for."""

    def run(*words: str, name: str = "a", variant: str = "full") -> Path:
        flags = [*tiny.flags(variant), *QUICK, "--variant", variant]
        return _runner("holocine", flags, tmp_path)(*words, name=name)

    return run


def _runner(program: str, flags: list[str], folder: Path) -> Callable[..., Path]:
    def run(*words: str, name: str = "a") -> Path:
        path = folder / f"{name}{'.safetensors' if 'latent' in words else '.mp4'}"
        assert MAIN[program]([*flags, "--overwrite", "--save_path", str(path), *words]) == 0
        return path

    return run


def latents_of(path: Path) -> torch.Tensor:
    return load_file(path.with_suffix(".safetensors"))["latents"]


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_base_writes_a_video_and_says_how_it_was_made(
    base: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    video = base("--prompt", "a gull", "--fps", "23.976")
    assert capsys.readouterr().out.split() == [str(video.with_suffix(s)) for s in (".mp4", ".safetensors", ".json")]
    assert read_video(video).shape == (9, 32, 32, 3)
    record = json.loads(video.with_suffix(".json").read_text())
    assert (record["options"]["seed"], record["options"]["prompt"], record["num_frames"]) == (7, "a gull", 9)
    assert set(record["checkpoints"]) == {"tokenizer", "t5", "dit_high_noise", "dit_low_noise", "vae"}
    assert list(record["seconds"]) == ["encode_text", "denoise", "decode"]
    assert (record["device"].split()[0], record["dtype"]) == ("cpu", "float32")
    embedded = json.loads(read_metadata(video)["comment"])
    assert embedded["options"] == record["options"]
    assert str(tmp_path) not in read_metadata(video)["comment"]
    assert files_in(tmp_path) == {"a.mp4", "a.safetensors", "a.json"}


def test_the_same_seed_gives_the_same_latents_bit_for_bit(base: Callable[..., Path]):
    words = ("--prompt", "a gull", "--output_type", "both")
    first, again, other = base(*words), base(*words, name="b"), base(*words, "--seed", "8", name="c")
    assert torch.equal(latents_of(first), latents_of(again))
    assert first.read_bytes() != again.read_bytes()  # the record knows its own file's name
    assert not torch.equal(latents_of(first), latents_of(other))
    assert (read_video(first) == read_video(again)).all()


@pytest.mark.parametrize("swap", ["1", "3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_streamed_blocks_change_no_bit(
    base: Callable[..., Path], extension: Callable[..., Path], swap: str, dtype: str
):
    words = ["--output_type", "latent", "--dtype", dtype, "--infer_steps", "4"]
    for run, scene in ((base, ["--prompt", "a gull"]), (extension, THREE_SHOTS)):
        resident, streamed = (
            latents_of(run(*scene, *words, "--blocks_to_swap", count, name=count)) for count in ("0", swap)
        )
        assert torch.equal(resident, streamed)


@pytest.mark.parametrize("dry", [False, True])
def test_more_blocks_than_there_are_cannot_be_streamed(tiny: TinyModel, capsys: pytest.CaptureFixture[str], dry: bool):
    words = [*tiny.flags(), *QUICK, *THREE_SHOTS, "--variant", "full", "--blocks_to_swap", "4"]
    assert holocine_ext.cli.main([*words, "--dry_run"] if dry else words) == 2
    assert "--blocks_to_swap 4: --dit_high_noise" in (line := capsys.readouterr().err)
    assert line.rstrip().endswith("has 3 blocks")


def test_blocks_that_do_not_fit_are_streamed_by_themselves(base: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    words = ("--prompt", "a gull", "--output_type", "latent")
    resident = latents_of(base(*words))
    monkeypatch.setattr("wan2.run.machine.psutil.virtual_memory", lambda: SimpleNamespace(available=1))
    used: list[StoredBlock] = []
    use = BlockRing.use
    monkeypatch.setattr(BlockRing, "use", lambda ring, block: used.append(block) or use(ring, block))
    assert torch.equal(latents_of(base(*words, name="b")), resident)
    two_steps, both_passes_apart = 2, 2
    streamed = [block for block in used if isinstance(block.file, BlockFile)]
    assert len(streamed) == two_steps * both_passes_apart * 3


@pytest.mark.parametrize("flag", ["--prompt", "--negative_prompt", "--flow_shift", "--guidance_scale"])
@pytest.mark.parametrize("solver", ["euler", "unipc", "dpm++"])
def test_what_decides_the_video_decides_the_latents(base: Callable[..., Path], flag: str, solver: str):
    words = ["--prompt", "a gull", "--sample_solver", solver, "--output_type", "latent"]
    first = latents_of(base(*words))
    assert not torch.equal(first, latents_of(base(*words, flag, "3" if "scale" in flag or "shift" in flag else "dog")))


def test_latents_alone_need_no_vae_and_decode_to_the_same_video_later(
    base: Callable[..., Path], tiny: TinyModel, tmp_path: Path
):
    video = base("--prompt", "a gull", "--output_type", "both", "--fps", "12")
    header = read_header(video.with_suffix(".safetensors"))
    assert header.tensors == {"latents": ("F32", (1, 16, 3, 4, 4))}
    assert json.loads(header.metadata["plan"]) == {"fps": 12.0}
    words = ["--latent_path", str(video.with_suffix(".safetensors")), "--vae", str(tiny.vae), "--device", "cpu"]
    assert wan2.cli.main.main([*words, "--save_path", str(tmp_path / "again.mp4")]) == 0
    assert (read_video(tmp_path / "again.mp4") == read_video(video)).all()
    made, record = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("a", "again"))
    decoded = record.pop("decoded")
    assert record["options"] == made["options"]
    assert (record["options"]["fps"], record["options"]["prompt"], record["num_frames"]) == (12.0, "a gull", 9)
    assert record["checkpoints"] == made["checkpoints"]
    assert (decoded["options"]["fps"], list(decoded["checkpoints"])) == (12.0, ["vae"])
    assert not decoded["options"].keys() & {"seed", "prompt", "infer_steps"}


def test_latents_without_a_record_decode_with_one_of_the_decoding_alone(
    base: Callable[..., Path], tiny: TinyModel, tmp_path: Path
):
    latents = base("--prompt", "a gull", "--output_type", "latent", "--no_metadata")
    words = ["--latent_path", str(latents), "--vae", str(tiny.vae), "--device", "cpu"]
    assert wan2.cli.main.main([*words, "--save_path", str(tmp_path / "a.mp4")]) == 0
    record = json.loads((tmp_path / "a.json").read_text())
    assert (list(record["checkpoints"]), record["num_frames"]) == (["vae"], 9)
    assert not record["options"].keys() & {"seed", "prompt", "infer_steps"}


def test_the_record_beside_latents_is_carried_on_when_they_are_decoded_there(
    base: Callable[..., Path], tiny: TinyModel, tmp_path: Path
):
    latents = base("--prompt", "a gull", "--output_type", "latent")
    made = json.loads((tmp_path / "a.json").read_text())
    words = ["--latent_path", str(latents), "--vae", str(tiny.vae), "--device", "cpu"]
    assert wan2.cli.main.main([*words, "--save_path", str(tmp_path / "a.mp4")]) == 0
    record = json.loads((tmp_path / "a.json").read_text())
    for name in ("created", "options", "checkpoints", "timesteps", "passes", "attention"):
        assert record[name] == made[name]


def test_stills_previews_and_no_metadata(base: Callable[..., Path], tmp_path: Path):
    base("--prompt", "a gull", "--output_type", "images", "--preview", "1", "--no_metadata", "--no_latents")
    stills = {f"a_frames/{number:05d}.png" for number in range(9)}
    assert files_in(tmp_path) == stills | {"a_preview.png"}
    assert Image.open(tmp_path / "a_frames/00008.png").size == (32, 32)


def test_no_metadata_leaves_nothing_of_the_prompt(base: Callable[..., Path], tmp_path: Path):
    video = base("--prompt", "a very secret gull", "--output_type", "both", "--no_metadata")
    assert files_in(tmp_path) == {"a.mp4", "a.safetensors"}
    assert b"secret" not in video.read_bytes() + video.with_suffix(".safetensors").read_bytes()


def test_a_file_of_prompts_makes_a_video_of_each(base: Callable[..., Path], tmp_path: Path):
    (tmp_path / "prompts.txt").write_text("a gull --d 3 --f 5\na cat --w 48 --n dark\n")
    base("--from_file", str(tmp_path / "prompts.txt"))
    records = [json.loads((tmp_path / f"a-00{number}.json").read_text())["options"] for number in (1, 2)]
    assert [(r["prompt"], r["seed"], r["width"], r["num_frames"]) for r in records] == [
        ("a gull", 3, 32, 5),
        ("a cat", 7, 48, 9),
    ]
    assert read_video(tmp_path / "a-001.mp4").shape == (5, 32, 32, 3)


def test_at_scale_one_the_negative_prompt_has_no_say(base: Callable[..., Path]):
    words = ("--prompt", "a gull", "--output_type", "latent", "--guidance_scale", "1")
    other = base(*words, "--negative_prompt", "dog", name="b")
    assert torch.equal(latents_of(base(*words)), latents_of(other))


def test_the_extension_cuts_where_it_is_asked_and_shows_every_shot(
    extension: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    extension(*THREE_SHOTS, "--export_shots")
    shots = [f"a_shot0{number}.mp4" for number in (1, 2, 3)]
    expected = ["a.mp4", "a.safetensors", "a.json", *shots, "a_sheet.png"]
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in expected]
    assert files_in(tmp_path) == set(expected)
    assert [len(read_video(tmp_path / shot)) for shot in shots] == [5, 4, 8]
    record = json.loads((tmp_path / "a.json").read_text())
    assert (record["cuts"], record["variant"], record["model"]) == ([5, 9], "full", "holocine")
    assert record["storyboard"]["shot_cut_frames"] == [5, 9]
    assert record["captions"] == SCENE[3:]
    assert read_metadata(tmp_path / shots[1])["comment"] == "The sea rises"


def test_every_part_of_a_scene_decides_the_latents(extension: Callable[..., Path]):
    made = {
        "first": extension(*THREE_SHOTS, "--output_type", "latent"),
        "again": extension(*THREE_SHOTS, "--output_type", "latent", name="again"),
        "cut": extension(*THREE_SHOTS[:-1], "13", "--output_type", "latent", name="cut"),
        "caption": extension(*SCENE[:-1], "A gull lands", *THREE_SHOTS[6:], "--output_type", "latent", name="caption"),
        "variant": extension(*THREE_SHOTS, "--output_type", "latent", name="sparse", variant="sparse"),
    }
    latents = {name: latents_of(video) for name, video in made.items()}
    first = latents.pop("first")
    assert [name for name, other in latents.items() if torch.equal(first, other)] == ["again"]


def test_a_cut_that_snaps_to_the_same_frame_gives_the_same_video(extension: Callable[..., Path]):
    words = (*THREE_SHOTS, "--output_type", "latent")
    near = extension(*THREE_SHOTS[:-2], "4", "10", "--output_type", "latent", name="near")
    assert torch.equal(latents_of(extension(*words)), latents_of(near))


def test_a_storyboard_captions_and_a_raw_prompt_give_the_same_video(extension: Callable[..., Path], tmp_path: Path):
    board = {"global_caption": GLOBAL, "shots": [{"caption": text} for text in SCENE[3:]], "shot_cut_frames": [5, 9]}
    (tmp_path / "scene.json").write_text(json.dumps({**board, "num_frames": 17, "seed": 7}))
    raw = f"[global caption] {GLOBAL} This scene contains 3 shots. [per shot caption] " + " [shot cut] ".join(SCENE[3:])
    made = [
        extension(*THREE_SHOTS, "--output_type", "latent"),
        extension(
            "--storyboard", str(tmp_path / "scene.json"), "--output_type", "latent", "--video_length", "17", name="b"
        ),
        extension("--prompt", raw, *THREE_SHOTS[6:], "--output_type", "latent", name="c"),
    ]
    first, *others = map(latents_of, made)
    assert all(torch.equal(first, other) for other in others)


def test_a_storyboard_gives_size_length_rate_and_seed_unless_a_flag_does(tiny: TinyModel, tmp_path: Path):
    shots = [{"caption": "The tower", "seconds": 0.5}, {"caption": "The lamp", "seconds": 0.5}]
    board = {"global_caption": GLOBAL, "shots": shots, "fps": 10, "seed": 11, "size": [32, 48]}
    (tmp_path / "scene.json").write_text(json.dumps(board))
    words = [*tiny.flags(), "--device", "cpu", "--infer_steps", "1", "--storyboard", str(tmp_path / "scene.json")]
    assert holocine_ext.cli.main([*words, "--save_path", str(tmp_path / "a.mp4")]) == 0
    assert holocine_ext.cli.main([*words, "--seed", "5", "--save_path", str(tmp_path / "b.mp4")]) == 0
    records = [json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json")]
    made = records[0]
    assert (made["num_frames"], made["cuts"], made["options"]["fps"]) == (9, [5], 10)
    assert (made["options"]["height"], made["options"]["width"]) == (32, 48)
    assert [record["options"]["seed"] for record in records] == [11, 5]


def test_a_file_of_storyboards_makes_a_video_of_each(extension: Callable[..., Path], tmp_path: Path):
    (tmp_path / "scenes").mkdir()
    for name in ("one", "two"):
        board = {"global_caption": GLOBAL, "shots": [{"caption": name}, {"caption": "The lamp turns"}]}
        (tmp_path / "scenes" / f"{name}.json").write_text(json.dumps(board))
    (tmp_path / "scenes" / "list.txt").write_text("one.json --d 1\n# and\ntwo.json --f 5\n")
    extension("--from_file", str(tmp_path / "scenes" / "list.txt"))
    records = [json.loads((tmp_path / f"a-00{number}.json").read_text()) for number in (1, 3)]
    assert [record["captions"][0] for record in records] == ["one", "two"]
    assert [(r["options"]["seed"], r["num_frames"]) for r in records] == [(1, 9), (7, 5)]


def test_saved_latents_still_know_their_shots(extension: Callable[..., Path], tiny: TinyModel, tmp_path: Path):
    first = extension(*THREE_SHOTS, "--output_type", "both")
    words = ["--latent_path", str(first.with_suffix(".safetensors")), "--vae", str(tiny.vae), "--device", "cpu"]
    words += ["--save_path", str(tmp_path / "again" / "b.mp4"), "--export_shots"]
    assert holocine_ext.cli.main(words) == 0
    found = {"b.mp4", "b.json", "b_sheet.png", "b_shot01.mp4", "b_shot02.mp4", "b_shot03.mp4"}
    assert files_in(tmp_path / "again") == found
    assert (tmp_path / "again" / "b_sheet.png").read_bytes() == (tmp_path / "a_sheet.png").read_bytes()


def test_a_plain_prompt_is_one_shot_and_full_is_then_the_base(
    base: Callable[..., Path], extension: Callable[..., Path]
):
    settings = ("--flow_shift", "5", "--guidance_scale", "5", "--sample_solver", "euler", "--output_type", "latent")
    plain = latents_of(base("--prompt", "a gull", *settings))
    assert torch.equal(plain, latents_of(extension("--prompt", "a gull", *settings, name="b")))
    sparse = extension("--prompt", "a gull", *settings, name="c", variant="sparse")
    assert not torch.equal(plain, latents_of(sparse))


def test_the_mask_channel_reaches_a_checkpoint_that_has_one(
    tiny: TinyModel, extension: Callable[..., Path], tmp_path: Path
):
    words = [*THREE_SHOTS, "--output_type", "latent"]
    for noise in ("high", "low"):
        tensors = load_file(tiny.expert(noise))
        patch = tensors["patch_embedding.weight"]
        tensors["patch_embedding.weight"] = torch.cat([patch, torch.ones_like(patch[:, :1])], dim=1)
        save_file(tensors, tmp_path / f"{noise}.safetensors", {"num_heads": "4"})
        words += [f"--dit_{noise}_noise", str(tmp_path / f"{noise}.safetensors")]
    kinds = ("id", "normalized", "alternating")
    made = [latents_of(extension(*words, "--shot_mask_type", kind, name=kind)) for kind in kinds]
    assert not any(torch.equal(made[a], made[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_a_dry_run_prints_the_plan_and_makes_nothing(
    extension: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    extension(*THREE_SHOTS, "--dry_run")
    text = capsys.readouterr().out
    assert text.startswith("video      17 frames")
    assert "9 > 9" in text
    assert not files_in(tmp_path)


def test_an_interrupt_leaves_nothing_unfinished(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    # Two steps of denoising, then inside the second chunk of frames.
    monkeypatch.setattr(wan2.cli.main, "Console", impatient(6))
    words = [*tiny.flags(), *QUICK, *THREE_SHOTS, "--export_shots", "--save_path", str(tmp_path / "a.mp4")]
    assert holocine_ext.cli.main(words) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("holocine_generate_video: interrupted; to go on: ")
    assert files_in(tmp_path) == {"a.state.safetensors", "a.safetensors"}


def test_values_that_are_not_finite_end_the_run_with_nothing_written(
    tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tensors = load_file(tiny.expert("high"))
    tensors["head.head.bias"].fill_(float("nan"))
    save_file(tensors, tmp_path / "nan.safetensors", {"num_heads": "4"})
    words = [*tiny.flags(), *QUICK, "--prompt", "a gull", "--dit_high_noise", str(tmp_path / "nan.safetensors")]
    assert wan2.cli.main.main([*words, "--save_path", str(tmp_path / "out" / "a.mp4")]) == 1
    assert "step 1 of 2 (high-noise expert) gave values that are not finite" in capsys.readouterr().err
    assert files_in(tmp_path) == {"nan.safetensors"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "out of device memory; what would help: a smaller"),
        (OSError(28, "No space left on device", "a.mp4"), "No space left on device: 'a.mp4'"),
    ],
)
def test_failures_of_the_machine_are_one_line(error: Exception, said: str, capsys: pytest.CaptureFixture[str]):
    def fail(_: wan2.cli.main.Console) -> None:
        raise error

    assert wan2.cli.main.guarded("program", fail) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize("script", ["wan2_generate_video.py", "holocine_generate_video.py"])
def test_the_scripts_show_every_default_in_their_help(script: str):
    shown = {}
    for flag in ("--help", "--help_all"):
        done = subprocess.run([sys.executable, script, flag], cwd=ROOT, capture_output=True, text=True, check=True)
        assert not done.stderr
        shown[flag] = done.stdout
    assert shown["--help_all"].count("(default:") > 20
    assert shown["--help"].count("(default:") > 10 and len(shown["--help"]) < len(shown["--help_all"])


def test_a_real_script_makes_a_real_file(tiny: TinyModel, tmp_path: Path):
    words = [*tiny.flags(), *QUICK, *THREE_SHOTS, "--save_path", str(tmp_path / "a.mp4")]
    script = [sys.executable, "holocine_generate_video.py"]
    done = subprocess.run([*script, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == str(tmp_path / "a.mp4")
    assert len(read_video(tmp_path / "a.mp4")) == 17


def test_a_library_is_imported_with_the_first_stage_that_needs_it(tiny: TinyModel, tmp_path: Path):
    """No decoder for latents alone, no text encoder for latents that are there."""
    watched = {"diffusers.models.autoencoders.autoencoder_kl_wan", "transformers.models.umt5.modeling_umt5"}
    code = f"import sys, wan2.cli.main; wan2.cli.main.main(sys.argv[1:]); print(sorted({watched} & set(sys.modules)))"

    def imported(*words: str) -> str:
        ready = [sys.executable, "-c", code, *words, "--device", "cpu"]
        done = subprocess.run(ready, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    made = [*tiny.flags(), *QUICK, "--prompt", "a gull", "--sample_solver", "euler", "--output_type", "latent"]
    latents = tmp_path / "a.safetensors"
    assert imported(*made, "--save_path", str(latents)) == "['transformers.models.umt5.modeling_umt5']"
    again = imported("--latent_path", str(latents), "--vae", str(tiny.vae), "--save_path", str(tmp_path / "a.mp4"))
    assert again == "['diffusers.models.autoencoders.autoencoder_kl_wan']"
    assert (tmp_path / "a.mp4").exists()
