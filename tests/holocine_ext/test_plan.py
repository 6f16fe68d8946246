"""The dry run: what it knows, how it reads, and that it needs no heavy library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from holocine_ext.plan import Plan, make_plan, render_plan
from holocine_ext.presets import MODELS
from holocine_ext.shots.layout import plan_layout
from holocine_ext.story.scene import plan_scene
from holocine_ext.story.storyboard import from_arguments
from wan2.models.config import TransformerConfig
from wan2.plan.budget import Work
from wan2.request.flat import make_request
from wan2.text.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[2]
TOKENIZER = load_tokenizer(ROOT / "tests" / "data" / "tokenizer")
PRESET = MODELS["holocine"]["sparse"]
CONFIG = TransformerConfig(
    dim=5120, in_dim=16, ffn_dim=13824, out_dim=16, text_dim=4096, freq_dim=256, eps=1e-6,
    patch_size=(1, 2, 2), num_heads=40, num_layers=40,
)  # fmt: skip


def plan_of(*captions: str, cuts: list[int] | None = None, sparse: bool = True, **given: float) -> Plan:
    board = from_arguments(global_caption="A storm nears.", shot_captions=captions, shot_cut_frames=cuts)
    scene = plan_scene(board, PRESET)
    options = make_request(PRESET, {"prompt": board.prompt, "num_frames": scene.num_frames, **given})
    layout = plan_layout(scene.num_frames, scene.num_shots, scene.cuts, options.shape.tokens_per_frame, scene.names)
    tokenized = TOKENIZER.tokenize(board.prompt)
    return make_plan(scene, layout, tokenized, options, Work(CONFIG), sparse, ["look here"])


def test_what_a_plan_knows() -> None:
    plan = plan_of("A gull lands", "The lamp turns", cuts=[100])
    assert [shot.frames for shot in plan.shots] == [(0, 101), (101, 241)]
    assert [shot.asked for shot in plan.shots] == [None, 100]
    assert sum(shot.tokens for shot in plan.shots) == plan.layout.tokens == 95160
    assert plan.shots[0].keys[0][0] == 0
    assert plan.shots[1].keys[-1][1] == 512
    assert plan.passes == (50, 50)
    assert plan.positive_flops < plan.negative_flops < plan.full_flops
    assert plan.total_flops == 50 * (plan.positive_flops + plan.negative_flops)


def test_full_attention_costs_what_full_attention_costs() -> None:
    plan = plan_of("A gull lands", "The lamp turns", sparse=False, guidance_scale=1.0)
    assert plan.negative_flops == plan.full_flops
    assert plan.passes == (50, 0)
    assert "full would take" not in render_plan(plan)


def test_an_ordinary_prompt_sees_its_whole_text() -> None:
    board = from_arguments(prompt="A gull over the pier.")
    scene = plan_scene(board, PRESET)
    options = make_request(PRESET, {"prompt": board.prompt, "num_frames": scene.num_frames})
    layout = plan_layout(scene.num_frames, 1, None, options.shape.tokens_per_frame)
    plan = make_plan(scene, layout, TOKENIZER.tokenize(board.prompt), options, Work(CONFIG), True)
    assert [shot.keys for shot in plan.shots] == [((0, 512),)]
    assert plan.positive_flops == plan.negative_flops


def test_the_text_says_it_all() -> None:
    text = render_plan(plan_of("A gull lands", "The lamp turns", "The sea rises", cuts=[50, 101]))
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
    assert "even > 121" in render_plan(plan_of("A gull lands", "The lamp turns"))


def test_a_portrait_reads_as_one_and_lines_are_short() -> None:
    captions = [f"A gull lands on rail {number}" for number in range(13)]
    text = render_plan(plan_of(*captions, height=832, width=480, step_cache=0.05, vram_budget=24.0))
    assert "480 wide x 832 high" in text
    assert max(map(len, text.splitlines())) <= 80


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, holocine_ext.plan, holocine_ext.story.storyboard, holocine_ext.presets\n"
        "assert not {'torch', 'numpy', 'transformers', 'diffusers', 'PIL'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
