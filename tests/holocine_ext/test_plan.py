"""What a run would do and cost, how that reads, and that finding it out needs no heavy library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holocine_ext.forecast import Forecast, make_forecast
from holocine_ext.plan import look_ahead, plan_video
from holocine_ext.presets import MODELS
from holocine_ext.report import render
from holocine_ext.request import SceneRequest, scene_request
from holocine_ext.shots.flops import attended
from holocine_ext.story.boards import from_arguments
from holocine_ext.story.storyboard import Storyboard
from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.plan.budget import Work
from wan2.plan.files import Files
from wan2.text.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
TOKENIZER = load_tokenizer(ROOT / "tests" / "data" / "tokenizer")
CONFIG = TransformerConfig(
    dim=5120, in_dim=16, ffn_dim=13824, out_dim=16, text_dim=4096, freq_dim=256, eps=1e-6,
    patch_size=(1, 2, 2), num_heads=40, num_layers=40,
)  # fmt: skip


def asked(board: Storyboard, model: str = "holocine", *, sparse: bool = True, **given: object) -> SceneRequest:
    return scene_request(board, MODELS[model]["sparse" if sparse else "full"], given)


def forecast(board: Storyboard, *, sparse: bool = True, **given: object) -> Forecast:
    scene = asked(board, sparse=sparse, **given)
    assert scene.layout is not None
    work = Work(CONFIG, attended=attended(scene.layout, sparse))
    return make_forecast(scene, TOKENIZER.tokenize(board.prompt), work, ["look here"])


def board_of(*captions: str, cuts: list[int] | None = None) -> Storyboard:
    return from_arguments(global_caption="A storm nears.", shot_captions=captions, shot_cut_frames=cuts)


def test_what_a_forecast_knows() -> None:
    plan = forecast(board_of("A gull lands", "The lamp turns", cuts=[100]))
    assert [shot.frames for shot in plan.shots] == [(0, 101), (101, 241)]
    assert [shot.asked for shot in plan.shots] == [None, 100]
    assert sum(shot.tokens for shot in plan.shots) == plan.layout.tokens == 95160
    assert plan.shots[0].keys[0][0] == 0
    assert plan.shots[1].keys[-1][1] == 512
    assert plan.passes == (50, 50)
    assert plan.positive_flops < plan.negative_flops < plan.full_flops
    assert plan.total_flops == 50 * (plan.positive_flops + plan.negative_flops)


def test_full_attention_costs_what_full_attention_costs() -> None:
    plan = forecast(board_of("A gull lands", "The lamp turns"), sparse=False, guidance_scale=1.0)
    assert plan.negative_flops == plan.full_flops
    assert plan.passes == (50, 0)
    assert "full would take" not in render(plan)


def test_an_ordinary_prompt_sees_its_whole_text() -> None:
    plan = forecast(from_arguments(prompt="A gull over the pier."))
    assert [shot.keys for shot in plan.shots] == [((0, 512),)]
    assert plan.positive_flops == plan.negative_flops


def test_the_text_says_it_all() -> None:
    text = render(forecast(board_of("A gull lands", "The lamp turns", "The sea rises", cuts=[50, 101])))
    for said in (
        "241 frames, 16.1 s at 15 fps, 832 wide x 480 high",
        "61 latent frames of 1,560 tokens, 95,160 in all",
        "of 512 tokens",
        "0-48",
        "50 > 49",
        "101 > 101",
        "PFLOP a pass, sparse self-attention",
        "(full would take",
        "50 steps, 50 + 50 passes (prompt + negative)",
        "transformer 28.6 GB",
        "warning    look here",
    ):
        assert said in text
    assert "even > 121" in render(forecast(board_of("A gull lands", "The lamp turns")))


def test_a_portrait_reads_as_one_and_lines_are_short() -> None:
    captions = [f"A gull lands on rail {number}" for number in range(13)]
    text = render(forecast(board_of(*captions), height=832, width=480, step_cache=0.05, vram_budget=24.0))
    assert "480 wide x 832 high" in text
    assert max(map(len, text.splitlines())) <= 80


def test_looking_ahead_needs_none_of_the_files_of_the_published_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    board = board_of("The tower", "The sea", "The lamp")
    full, sparse = (look_ahead(asked(board, sparse=sparse), Files()) for sparse in (False, True))
    assert 9.5e15 < full.negative_flops < 10e15  # 9.74 PFLOP at 241 frames
    assert full.full_flops == full.negative_flops > sparse.negative_flops
    text = render(full)
    assert "--tokenizer: not there" in text
    assert "`dit_high_noise` and `dit_low_noise`: not there" in text


def test_a_file_that_was_given_must_be_there_even_to_look_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    board = board_of("The tower", "The sea")
    for name, rule in (("tokenizer", "no such folder"), ("dit_low_noise", "No such file")):
        with pytest.raises(InputError, match=f"{name} absent: {rule}"):
            look_ahead(asked(board, **{name: Path("absent")}), Files())


def test_a_plan_holds_what_the_forecast_and_the_windows_of_the_text_are_made_of(tmp_path: Path) -> None:
    scene = asked(board_of("The tower", "The sea", cuts=[17]), "nano", save_path=tmp_path / "scene.mp4")
    files = Files()
    plan, ahead = plan_video(scene, files), look_ahead(scene, files)
    assert plan.forecast == ahead
    assert str(plan) == render(ahead)
    assert plan.key_ranges == tuple(shot.keys for shot in ahead.shots)
    assert plan.output == tmp_path / "scene.mp4" and not plan.finished
    assert [text.num_tokens for text in plan.base.found.texts][0] == ahead.text.tokens


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, holocine_ext.plan, holocine_ext.story.storyboard, holocine_ext.presets\n"
        "assert not {'torch', 'numpy', 'transformers', 'diffusers', 'PIL'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
