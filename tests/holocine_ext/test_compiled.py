"""`--compile`: one graph a region whatever the shots, and the numbers of the code that was not compiled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from holocine_ext.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.cli import main
from holocine_ext.layout import plan_layout
from tests.tiny import QUICK, TinyModel
from wan2.cli import keep_compiled
from wan2.conditioning import Conditioning
from wan2.errors import InputError
from wan2.loading.turns import Turn, transformers
from wan2.models.compiled import check_compiler, compiled_regions
from wan2.models.layers import REGIONS
from wan2.models.transformer import WanTransformer

CPU = torch.device("cpu")
# Frames, shots and tokens of a latent frame.
SCENES = (
    (33, 3, 4),
    (33, 1, 4),
    (33, 4, 4),
    (41, 2, 4),
    (49, 5, 4),
    (17, 2, 6),
    (81, 7, 4),
    (33, 3, 9),
    (29, 3, 4),
    (61, 9, 4),
)
# What compiled code may differ by, of the norm of the result, after two steps of a random model in bfloat16, where a
# rounding left out would show.
ALLOWED = 2e-3


def predict(model: WanTransformer, num_frames: int, num_shots: int, tokens: int, sparse: bool) -> torch.Tensor:
    layout = plan_layout(num_frames, num_shots, None, tokens)
    generator = torch.Generator().manual_seed(num_frames)
    latents = torch.randn(1, 16, layout.latent_frames, 2, 2 * tokens, generator=generator)
    windows = WindowCrossAttention(layout, tuple(((0, 20), (20 + i, 24 + i), (100, 512)) for i in range(num_shots)))
    context = torch.randn(1, 512, 64, generator=generator)
    own = (SparseInterShotAttention(layout),) if sparse else ()
    with torch.inference_mode():
        return model(latents, torch.tensor(500.0), Conditioning(context, *own, cross_attn=windows))


@pytest.mark.parametrize("streamed", [0, 2], ids=["resident", "streamed"])
def test_one_graph_a_region_serves_both_experts_and_any_shots(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch, streamed: int
) -> None:
    from torch._dynamo.utils import counters

    monkeypatch.setattr("wan2.models.runs.TOKENS_AT_ONCE", 24)
    torch._dynamo.reset()
    counters.clear()
    regions = compiled_regions("aot_eager")
    turns = [Turn(name, tiny.expert(name), len(SCENES)) for name in ("high", "low")]
    with transformers(turns, streamed, "disk", CPU, torch.float32) as load:
        for turn in turns:
            model = load(turn.name)
            model.regions = regions
            for number, scene in enumerate(SCENES):
                assert predict(model, *scene, sparse=number % 2 == 0).isfinite().all()
    assert counters["stats"]["unique_graphs"] == len(REGIONS)
    assert not counters["graph_break"]


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_compiled_numbers_are_those_of_the_code(
    tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kept"))
    words = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", *QUICK, *tiny.flags()]
    words += ["--output_type", "latent", "--no_metadata", "--dtype", "bfloat16"]
    torch._dynamo.reset()
    compiled_regions.cache_clear()
    for name, more in (("eager", []), ("compiled", ["--compile"])):
        assert main([*words, "--save_path", str(tmp_path / f"{name}.safetensors"), *more]) == 0
    eager, compiled = (load_file(tmp_path / f"{name}.safetensors")["latents"] for name in ("eager", "compiled"))
    assert (compiled - eager).norm() <= ALLOWED * eager.norm()
    assert any((tmp_path / "kept").rglob("*.so"))


def test_what_is_compiled_stays_where_the_next_run_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    keep_compiled()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / ".compiled")


def test_without_a_compiler_compiling_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"--compile: compiling for --device cpu needs a C\+\+ compiler"):
        check_compiler(CPU)
