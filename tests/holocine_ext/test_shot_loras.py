"""LoRAs that count in some shots only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import holocine_ext.cli
from holocine_ext.shots.layout import ShotLayout
from holocine_ext.shots.loras import lora_strengths
from holocine_ext.shots.spans import TextSpans
from tests.tiny import TinyModel
from tests.wan2.lora_files import draw, kohya, write_lora
from tests.wan2.reference import CONFIG
from wan2.models.branches import Run, Strengths

WORDS = ["--device", "cpu", "--infer_steps", "2", "--video_size", "32", "32", "--seed", "4", "--output_type", "latent"]


def latents(tiny: TinyModel, folder: Path, *shots: dict[str, Any], multiplier: str = "0.8", code: int = 0) -> Tensor:
    tables = [{"caption": f"Part {number}", **shot} for number, shot in enumerate(shots)]
    (folder / "board.json").write_text(json.dumps({"global_caption": "A sea.", "num_frames": 17, "shots": tables}))
    lora = str(write_lora(folder / "lora", kohya(draw(CONFIG, seed=3))))
    words = [*tiny.flags(), *WORDS, "--storyboard", str(folder / "board.json"), "--overwrite", "--lora_mode", "branch"]
    words += ["--lora_weight", lora, "--lora_weight_high_noise", lora]
    words += ["--lora_multiplier", multiplier, "--lora_multiplier_high_noise", multiplier]
    assert holocine_ext.cli.main([*words, "--save_path", str(folder / "a.safetensors")]) == code
    return load_file(folder / "a.safetensors")["latents"] if not code else torch.empty(0)


def test_shots_with_their_own_multiplier(tiny: TinyModel, tmp_path: Path) -> None:
    whole, without = latents(tiny, tmp_path, {}, {}), latents(tiny, tmp_path, {}, {}, multiplier="0")
    assert (whole - without).norm() > 1e-3 * whole.norm()
    same = latents(tiny, tmp_path, {"lora_multiplier": 0.8}, {"lora_multiplier": [0.8]})
    torch.testing.assert_close(same, whole, rtol=1e-4, atol=1e-5)
    none = latents(tiny, tmp_path, {"lora_multiplier": 0}, {"lora_multiplier": 0}, multiplier="0")
    assert torch.equal(none, without)
    second = latents(tiny, tmp_path, {}, {"lora_multiplier": 0.8}, multiplier="0")
    told = json.loads((tmp_path / "a.json").read_text())["directions"]
    assert told == [{}, {"lora_multiplier": [0.8]}]
    near, far = ((second - without)[:, :, part].norm() for part in (slice(2, None), slice(0, 2)))
    assert near > 2 * far > 0


def test_the_runs_are_those_of_the_shots() -> None:
    layout = ShotLayout(17, (5, 13), 4)
    spans = TextSpans((0, 3), ((3, 5), (5, 9), (9, 12)))
    found = lora_strengths([0.5, 1.0], [None, (0.0, 2.0), (3.0,)], layout, spans)
    assert found == (
        Strengths(0.5, (Run(8, 16, 0.0), Run(16, 20, 3.0)), (Run(5, 9, 0.0), Run(9, 12, 3.0))),
        Strengths(1.0, (Run(8, 16, 2.0), Run(16, 20, 3.0)), (Run(5, 9, 2.0), Run(9, 12, 3.0))),
    )


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ([1, 2], "--lora_weight_high_noise: shot 1 has 2 of --lora_multiplier for 1 LoRAs"),
        ([], "must be a number between -100 and 100, or a list of them"),
        ("much", "must be a number between -100 and 100, or a list of them"),
        ([1, True], "must be a number between -100 and 100, or a list of them"),
        (101, "must be a number between -100 and 100, or a list of them"),
    ],
)
def test_what_is_refused(
    tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: object, line: str
) -> None:
    latents(tiny, tmp_path, {"lora_multiplier": value}, {}, code=2)
    assert line in capsys.readouterr().err


def test_merged_loras_cannot_be_those_of_a_shot(
    tiny: TinyModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shots = [{"caption": "A gull", "lora_multiplier": 1}]
    (tmp_path / "board.json").write_text(json.dumps({"global_caption": "A sea.", "num_frames": 9, "shots": shots}))
    words = [*tiny.flags(), *WORDS, "--storyboard", str(tmp_path / "board.json"), "--save_path", str(tmp_path / "a")]
    assert holocine_ext.cli.main(words) == 2
    said = "--lora_mode merge: a shot has a --lora_multiplier of its own, which needs LoRAs beside the weights"
    assert said in capsys.readouterr().err
