"""Adapters beside the weights: what merged ones give, more or less of it for every token, and nothing where it is 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.wan2.adapter_files import EVERY, written
from tests.wan2.adapter_files import pair as a_pair
from tests.wan2.fp8_files import SIX, scaled, six_blocks, write
from tests.wan2.lora_files import write_lora
from wan2.models.adapters import LowRank
from wan2.models.branches import Branch, Branched, Branches, Dial, Run, Strengths
from wan2.models.compiled import compiled_regions
from wan2.models.conditioning import Conditioning
from wan2.models.transformer import WanTransformer
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.fp8 import AS_STORED, LowBit
from wan2.weights.lora import with_branches
from wan2.weights.sources import Lora, TransformerFile

CPU = torch.device("cpu")
LATENTS = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(5))
TOKENS = 3 * 2 * 3
TEXT = torch.randn(1, 512, SIX.text_dim, generator=torch.Generator().manual_seed(6))
PASS = Conditioning(TEXT)


def velocity(model: WanTransformer, *strengths: Strengths, grad: bool = False) -> Tensor:
    with torch.set_grad_enabled(grad):
        return model(LATENTS, torch.tensor(900.0), replace(PASS, strengths=strengths)).detach()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("six") / "high.safetensors", six_blocks("high"), torch.float32)


def beside(checkpoint: Path, *loras: Lora) -> TransformerFile:
    return with_branches(inspect_transformer(checkpoint), loras)


def loaded(file: TransformerFile, dtype: torch.dtype = torch.float32, fp8: LowBit = AS_STORED) -> WanTransformer:
    return load_transformer(file, CPU, dtype, fp8)


@pytest.mark.parametrize("kind", EVERY)
def test_beside_is_merged(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    lora = Lora(write_lora(tmp_path / "a", EVERY[kind]), 0.4)
    plain, merged = loaded(inspect_transformer(checkpoint)), loaded(inspect_transformer(checkpoint, [lora]))
    model = loaded(beside(checkpoint, lora))
    expected = velocity(merged)
    assert (velocity(plain) - expected).norm() > 0.02 * expected.norm()
    for grad in (False, True):
        assert (velocity(model, grad=grad) - expected).norm() < 1e-5 * expected.norm()
    assert all(torch.equal(tensor, plain.get_parameter(name)) for name, tensor in model.named_parameters()
               if "attn.q.weight" in name)  # fmt: skip


@pytest.mark.parametrize("kind", EVERY)
def test_strength_is_changed_without_loading(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    """Of two adapters, by the pass; what is not beside a linear keeps the multiplier it was loaded with."""
    paths = [write_lora(tmp_path / "a", EVERY[kind]), write_lora(tmp_path / "b", written(a_pair, 3))]
    again = [Lora(paths[0], 0.4), Lora(paths[1], -0.7)]
    model = loaded(beside(checkpoint, Lora(paths[0], 0.4), Lora(paths[1], 0.2)))
    expected = velocity(loaded(inspect_transformer(checkpoint, again)))
    assert (velocity(model) - expected).norm() > 1e-3 * expected.norm()
    assert (velocity(model, Strengths(0.4), Strengths(-0.7)) - expected).norm() < 2e-5 * expected.norm()


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind != "with differences"])
def test_strength_0_is_without_to_the_bit(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    model = loaded(beside(checkpoint, Lora(write_lora(tmp_path / "a", EVERY[kind]), 0.0)))
    plain = velocity(loaded(inspect_transformer(checkpoint)))
    assert torch.equal(velocity(model), plain)
    assert torch.equal(velocity(model, Strengths(1.0, (Run(0, TOKENS, 0.0),), (Run(0, 512, 0.0),))), plain)
    assert not torch.equal(velocity(model, Strengths(0.0, (Run(3, 4, 1.0),))), plain)
    assert not torch.equal(velocity(model, Strengths(0.0, text=(Run(3, 4, 1.0),))), plain)


@pytest.mark.parametrize("kind", EVERY)
def test_everywhere_is_every_run(checkpoint: Path, tmp_path: Path, kind: str) -> None:
    model = loaded(beside(checkpoint, Lora(write_lora(tmp_path / "a", EVERY[kind]), 0.3)))
    cut = Strengths(9.0, (Run(0, TOKENS, 5.0), Run(0, 7, 0.8), Run(7, TOKENS, 0.8)), (Run(0, 600, 0.8),))
    assert torch.equal(velocity(model, cut), velocity(model, Strengths(0.8)))


def linear(rows: int = 6, columns: int = 4) -> tuple[nn.Linear, Branch]:
    rng = torch.Generator().manual_seed(8)
    base = nn.Linear(columns, rows)
    for parameter in base.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng)
    factors = LowRank(torch.randn(rows, 2, generator=rng), torch.randn(2, columns, generator=rng))
    return base, Branch(0, 0.5, factors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_tokens_outside_their_runs_get_the_bits_without(dtype: torch.dtype) -> None:
    base, branch = (part.to(dtype) for part in linear())
    dial = Dial()
    both, x = Branched(base, [branch], dial), torch.randn(2, 9, 4).to(dtype)
    turns = Branches([{}], [0.0]).turn([Strengths(0.0, (Run(2, 5, 1.0), Run(4, 7, 0.5)))], CPU)
    turns.dial = dial
    with torch.inference_mode():
        for start, stop in ((0, 9), (1, 4), (5, 9), (7, 9)):
            turns.tokens(start, stop)
            plain, found = base(x[:, start:stop]), both(x[:, start:stop])
            added = branch.factors.times(x[:, start:stop]) * 0.5
            for token in range(start, stop):
                strength = {2: 1.0, 3: 1.0, 4: 0.5, 5: 0.5, 6: 0.5}.get(token, 0.0)
                row = token - start
                if not strength:
                    assert torch.equal(found[:, row], plain[:, row])
                else:
                    wanted = (plain[:, row].double() + strength * added[:, row].double()).to(dtype)
                    torch.testing.assert_close(found[:, row], wanted)


def test_runs_follow_the_tokens_that_a_process_computes() -> None:
    whole = Strengths(0.25, (Run(1, 6, 1.0), Run(4, 9, 0.5), Run(11, 12, 2.0)))
    rows = ((8, 12), (0, 2), (4, 5))
    gates = []
    for strengths, stop in ((whole, 12), (whole.of_rows(rows), 7)):
        turns = Branches([{}], [0.0]).turn([strengths], CPU)
        turns.tokens(0, stop)
        gates.append(turns.dial.gates[0])
    assert gates[0] is not None and gates[1] is not None
    assert torch.equal(torch.cat([gates[0][a:b] for a, b in rows]), gates[1])
    assert whole.of_rows(None) is whole


@pytest.mark.parametrize("kind", ["bfloat16", "fp8"])
@pytest.mark.parametrize("fp8", [AS_STORED, LowBit(quantise=True)], ids=["stored", "scaled"])
@pytest.mark.parametrize("streamed", [3, 6])
def test_streamed_is_resident_bit_for_bit(tmp_path: Path, kind: str, fp8: LowBit, streamed: int) -> None:
    """Also where the other expert, in whose slots the blocks are, has none."""
    tensors = six_blocks("high")
    path = write(tmp_path / "a.safetensors", tensors if kind == "bfloat16" else scaled(tensors))
    low = inspect_transformer(write(tmp_path / "b.safetensors", six_blocks("low")))
    file = beside(path, Lora(write_lora(tmp_path / "c", written(a_pair)), 0.5))
    expected = [velocity(loaded(each, torch.bfloat16, fp8)) for each in (file, low)]
    placement = Placement(CPU, torch.bfloat16, fp8, streamed)
    with transformers([Phase("high", file, 2), Phase("low", low, 2)], placement) as load:
        for name, wanted in zip(("high", "low"), expected, strict=True):
            model = load(name)
            assert torch.equal(velocity(model), wanted) and torch.equal(velocity(model), wanted)
            model.to("meta")


def test_a_graph_serves_every_block_and_strength(checkpoint: Path, tmp_path: Path) -> None:
    from torch._dynamo.testing import CompileCounter

    lora = Lora(write_lora(tmp_path / "a", written(a_pair)), 0.5)
    model = loaded(beside(checkpoint, lora))
    cut = Strengths(0.5, (Run(0, 5, 1.5),))
    expected = [velocity(model), velocity(model, cut), velocity(model, Strengths(0.7))]
    counter = CompileCounter()
    torch._dynamo.reset()
    compiled_regions.cache_clear()
    model.regions = compiled_regions(counter)  # type: ignore[arg-type]
    found = [velocity(model), velocity(model, cut)]
    count = counter.frame_count
    found.append(velocity(model, Strengths(0.7)))
    assert counter.frame_count == count
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    torch._dynamo.reset()
    compiled_regions.cache_clear()


def test_what_was_loaded_is_let_go_of(checkpoint: Path, tmp_path: Path) -> None:
    model = loaded(beside(checkpoint, Lora(write_lora(tmp_path / "a", written(a_pair)), 0.5)))
    assert model.branches is not None and len(list(model.branches.buffers())) == 120
    model.to("meta")
    assert {tensor.device.type for tensor in (*model.buffers(), *model.parameters())} == {"meta"}
