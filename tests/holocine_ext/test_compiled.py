"""`--compile`: one graph a region whatever the shots, and the numbers of the code that was not compiled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import wan2.cli.main
from holocine_ext.cli import main
from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.layout import plan_layout
from tests.tiny import QUICK, TinyModel, write_tiny_model
from tests.wan2.fp8_files import has_product, needs_product, six_blocks, write
from tests.wan2.held_files import branch_flags, held_flags
from wan2.errors import InputError
from wan2.models.compiled import INDUCTOR, check_compiler, compiled_regions
from wan2.models.conditioning import Conditioning
from wan2.models.fp8 import Rows
from wan2.models.layers import REGIONS, Block, Regions
from wan2.models.rope import Rope
from wan2.models.transformer import WanTransformer
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.fp8 import AS_STORED, LowBit

CPU = torch.device("cpu")
EXPERTS = ("high", "low")
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
# What the result of a compiled region may differ by, of its norm, in bfloat16, and how many of the results may differ
# at all: here and there a value is off by a rounding, where a rounding left out would change them all.
ALLOWED, MAY_DIFFER = 2e-3, 0.1
# The C++ that PyTorch 2.11 generates takes fp32 -> bfloat16 -> fp32 within a loop for nothing, whatever it is asked to
# emulate: the rounding after the norm of queries and keys, and after an addition to the stream, is left out. One
# rounding changes a number by at most this share of it, and so does leaving one out.
UNIT_ROUNDOFF = torch.finfo(torch.bfloat16).eps / 2


def predict(model: WanTransformer, num_frames: int, num_shots: int, tokens: int, sparse: bool) -> torch.Tensor:
    layout = plan_layout(num_frames, num_shots, None, tokens)
    generator = torch.Generator().manual_seed(num_frames)
    latents = torch.randn(1, 16, layout.latent_frames, 2, 2 * tokens, generator=generator)
    windows = WindowCrossAttention(layout, tuple(((0, 20), (20 + i, 24 + i), (100, 512)) for i in range(num_shots)))
    context = torch.randn(1, 512, 64, generator=generator)
    own = (SparseInterShotAttention(layout),) if sparse else ()
    with torch.inference_mode():
        return model(latents, torch.tensor(500.0), Conditioning(context, *own, cross_attn=windows))


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A model whose transformers have six blocks, of which fp8 takes the two in the middle."""
    model = write_tiny_model(tmp_path_factory.mktemp("six") / "model")
    for noise in EXPERTS:
        write(model.expert(noise), six_blocks(noise), torch.bfloat16)
    return model


@pytest.mark.parametrize(
    ("low_bit", "kinds"),
    [
        (AS_STORED, 1),
        (LowBit(quantise=True), 2),
        pytest.param(LowBit(quantise=True, fast=frozenset({"fp8"})), 2, marks=needs_product),
    ],
    ids=["plain", "scaled", "fast"],
)
def test_one_graph_a_region_and_kind_of_block_serves_all(
    six: TinyModel, monkeypatch: pytest.MonkeyPatch, low_bit: LowBit, kinds: int
) -> None:
    """Both experts, streamed or not, and any shots; blocks that are fp8 are of another kind than those that are not."""
    from torch._dynamo.utils import counters

    monkeypatch.setattr("wan2.models.chunks.TOKENS_AT_ONCE", 24)
    torch._dynamo.reset()
    counters.clear()
    regions = compiled_regions("aot_eager")
    phases = [Phase(name, inspect_transformer(six.expert(name)), len(SCENES)) for name in EXPERTS]
    for streamed in (0, 3):
        with (
            torch.inference_mode(),
            transformers(phases, Placement(CPU, torch.bfloat16, low_bit, streamed, "disk")) as load,
        ):
            for phase, scenes in zip(phases, (SCENES[:5], SCENES[5:]), strict=True):
                model = load(phase.name)
                model.regions = regions
                for number, scene in enumerate(scenes):
                    assert predict(model, *scene, sparse=number % 2 == 0).isfinite().all()
    assert counters["stats"]["unique_graphs"] == kinds * len(REGIONS[:-1])  # the last, `at`, computes nothing
    assert not counters["graph_break"]


def beside(compiled: Callable[..., Any], region: Callable[..., Any], off: list[float]) -> Callable[..., Any]:
    """A compiled region that notes how far each of its results is from that of the code, of its norm."""

    def call(block: Block, *arguments: Tensor | Rope | Rows) -> Any:  # noqa: ANN401
        copies = (argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments)
        expected, found = region(block, *copies), compiled(block, *arguments)
        pairs = zip(*((x if isinstance(x, tuple) else (x,)) for x in (found, expected)), strict=True)
        off.extend(relative(a, b) for a, b in pairs if isinstance(a, Tensor))
        return found

    return call


def keeps_roundings() -> bool:
    """Whether compiled code rounds a product to bfloat16 before it goes on in fp32, as the code does."""

    def product(x: Tensor) -> Tensor:
        return (x * x).float() * 3

    x = torch.linspace(-1, 1, 512).bfloat16()
    kept, left_out = product(x), x.float() * x.float() * 3
    found = torch.compile(product, options=INDUCTOR)(x)
    assert torch.equal(found, kept) != torch.equal(found, left_out)
    return torch.equal(found, kept)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@pytest.mark.parametrize("form", ["few bits, LoRAs beside", "int8 products"])
def test_weights_in_few_bits_give_the_same_and_are_multiplied_out_outside_of_graphs(
    six: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    from torch._dynamo.utils import counters

    regions = compiled_regions("eager")
    monkeypatch.setattr("wan2.models.compiled.compiled_regions", lambda: regions)
    words = [*held_flags(six, tmp_path, "int8", "int8"), "--int8_fast"]
    if form == "few bits, LoRAs beside":
        words = [*held_flags(six, tmp_path, "gguf", "int8"), *branch_flags(tmp_path)]
    words += ["--prompt", "a gull", *QUICK, "--output_type", "latent", "--no_metadata", "--flow_shift", "5"]

    def latents(*more: str) -> Tensor:
        assert wan2.cli.main.main([*words, "--overwrite", "--save_path", str(tmp_path / "a.safetensors"), *more]) == 0
        return load_file(tmp_path / "a.safetensors")["latents"]

    torch._dynamo.reset()
    counters.clear()
    expected = latents()
    assert torch.equal(latents("--compile"), expected)
    calls, graphs = (counters["stats"][name] for name in ("calls_captured", "unique_graphs"))
    assert not counters["graph_break"] and calls / graphs < (60 if "--int8_fast" in words else 25)


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_compiled_numbers_are_those_of_the_code(
    six: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole runs, blocks streamed or not, in bfloat16 and in fp8; every region beside the code on the same input."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kept"))
    words = ["--global_caption", "A lighthouse.", "--shot_captions", "The tower", "The sea", *QUICK, *six.flags()]
    words += ["--output_type", "latent", "--no_metadata", "--flow_shift", "5"]  # a step of each expert

    def latents(*more: str) -> Tensor:
        assert main([*words, "--overwrite", "--save_path", str(tmp_path / "a.safetensors"), *more]) == 0
        return load_file(tmp_path / "a.safetensors")["latents"]

    torch._dynamo.reset()
    compiled_regions.cache_clear()
    off: list[float] = []
    regions = Regions(*(beside(*pair, off) for pair in zip(compiled_regions(), REGIONS, strict=True)))
    monkeypatch.setattr("wan2.models.compiled.compiled_regions", lambda: regions)
    allowed, may_differ = (ALLOWED, MAY_DIFFER) if keeps_roundings() else (UNIT_ROUNDOFF, 1)
    exact = latents("--dtype", "float32")
    for fp8 in ([], ["--fp8_scaled"], ["--fp8_fast"] if has_product() else []):
        given = ["--dtype", "bfloat16", *fp8]
        eager, compiled = latents(*given), latents(*given, "--compile")
        assert off and max(off) <= allowed and sum(x > 0 for x in off) <= may_differ * len(off)
        assert relative(compiled, eager) <= relative(eager, exact)
        assert torch.equal(latents(*given, "--compile", "--blocks_to_swap", "3"), compiled)
    assert any((tmp_path / "kept").rglob("*.so"))


def test_without_a_compiler_compiling_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"compile: compiling for `device` cpu needs a C\+\+ compiler"):
        check_compiler(CPU, fp8=False)
