"""Gradients block by block and piece by piece are those of PEFT, and of everything at once."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

import wan2.models.chunks
from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.layout import ShotLayout
from holocine_ext.teach.pieces import pieces_of
from wan2.models.conditioning import Conditioning, dense_attention
from wan2.models.transformer import TransformerConfig, WanTransformer
from wan2.training.adapter_table import TARGETS
from wan2.training.adapters import Adapters, Rank, adapted, flat
from wan2.training.frozen import Whole
from wan2.training.pieces import dense_pieces
from wan2.training.step import Inputs, Sample, add_gradients, loss_of

CONFIG = TransformerConfig(
    dim=24, in_dim=16, ffn_dim=40, out_dim=16, text_dim=12, freq_dim=16, eps=1e-6,
    patch_size=(1, 2, 2), num_heads=2, num_layers=3,
)  # fmt: skip
LAYOUT = ShotLayout(33, (5, 17), 4)
RANGES = (((0, 7), (20, 512)), ((0, 4), (7, 15), (20, 512)), ((0, 4), (14, 512)))


@pytest.fixture
def model() -> WanTransformer:
    torch.manual_seed(0)
    made = WanTransformer(CONFIG).requires_grad_(False)
    for parameter in made.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2)
    return made


@pytest.fixture(params=[4096, 5], ids=["whole", "in runs of 5 tokens"])
def _runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(wan2.models.chunks, "TOKENS_AT_ONCE", request.param)
    yield


def random_adapters(targets: tuple[str, ...] = tuple(TARGETS)) -> Adapters:
    adapters = Adapters(CONFIG, Rank(4, 6.0), targets, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, half in adapters.halves.items():
        if name.endswith("up"):
            half.data = torch.randn(half.shape, generator=generator) * 0.2
    return adapters


def sample_of(kind: str) -> Sample:
    generator = torch.Generator().manual_seed(3)
    noisy, velocity = (torch.randn(1, 16, 9, 4, 4, generator=generator) for _ in range(2))
    context = torch.randn(1, 512, 12, generator=generator)
    own = SparseInterShotAttention(LAYOUT) if kind == "sparse" else dense_attention
    windows = None if kind == "plain" else WindowCrossAttention(LAYOUT, RANGES)
    pieces = dense_pieces(LAYOUT.tokens, 512) if kind == "plain" else pieces_of(LAYOUT, RANGES, kind == "sparse")
    return Sample(noisy, velocity, torch.tensor(700.0), Conditioning(context, own, windows or dense_attention), pieces)


def in_peft(model: WanTransformer, adapters: Adapters) -> nn.Module:
    """The same adapters in PEFT's own linears."""
    found = "|".join(re.escape(module) for module in adapters.modules_adapted)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=found, init_lora_weights=False)
    injected = inject_adapter_in_model(config, model)
    for module in adapters.modules_adapted:
        theirs = injected.get_submodule(module)
        theirs.lora_A["default"].weight.data = adapters.halves[flat(f"{module}.down")].detach().clone()
        theirs.lora_B["default"].weight.data = adapters.halves[flat(f"{module}.up")].detach().clone()
    return injected


def off(found: Tensor | None, expected: Tensor) -> float:
    assert found is not None
    return float((found - expected).norm() / expected.norm())


@pytest.mark.usefixtures("_runs")
@pytest.mark.parametrize("on_host", [False, True], ids=["", "inputs on the host"])
@pytest.mark.parametrize("kind", ["plain", "full", "sparse"])
def test_gradients_are_those_of_peft(kind: str, on_host: bool, model: WanTransformer):
    adapters, sample = random_adapters(), sample_of(kind)
    loss = add_gradients(Whole(model), adapters, sample, Inputs(on_host))
    assert loss == pytest.approx(loss_of(Whole(model), adapters, sample), rel=1e-6)
    theirs = in_peft(model, adapters)
    with torch.enable_grad():
        expected = (theirs(sample.noisy, sample.timestep, sample.conditioning) - sample.velocity).square().mean()
        expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    for module in adapters.modules_adapted:
        own = theirs.get_submodule(module)
        for half, layer in (("down", own.lora_A["default"]), ("up", own.lora_B["default"])):
            assert off(adapters.halves[flat(f"{module}.{half}")].grad, layer.weight.grad) < 1e-6, (module, half)


def test_gradients_of_some_targets_are_those_of_all(model: WanTransformer):
    everything, some = random_adapters(), random_adapters(("v", "ffn"))
    assert some.linears == ("self_attn.v", "cross_attn.v", "ffn.0", "ffn.2")
    sample = sample_of("sparse")
    for name, half in everything.halves.items():
        if name in some.halves:
            some.halves[name].data = half.data.clone()
        elif name.endswith("up"):
            half.data.zero_()
    for adapters in (everything, some):
        add_gradients(Whole(model), adapters, sample, Inputs(False))
    for name, half in some.halves.items():
        assert half.grad is not None and torch.equal(half.grad, everything.halves[name].grad)


def test_weights_add_up(model: WanTransformer):
    once, twice = random_adapters(), random_adapters()
    sample = sample_of("full")
    add_gradients(Whole(model), once, sample, Inputs(False))
    for _ in range(2):
        add_gradients(Whole(model), twice, sample, Inputs(False), 0.5)
    assert max(off(twice.halves[name].grad, half.grad) for name, half in once.halves.items()) < 1e-6


def test_an_untrained_adapter_changes_no_bit_and_leaves_no_trace(model: WanTransformer):
    sample, before = sample_of("sparse"), dict(model.named_modules())
    adapters = Adapters(CONFIG, Rank(4, 4.0), tuple(TARGETS))
    plain = model(sample.noisy, sample.timestep, sample.conditioning)
    expected = float((plain - sample.velocity).double().square().mean())
    assert loss_of(Whole(model), adapters, sample) == pytest.approx(expected, rel=1e-6)
    block = model.blocks[0]
    x = torch.randn(1, 5, 24)
    with adapted(block, adapters.of_block(0)) as own:
        assert torch.equal(own.self_attn.q(x), block.self_attn.q.linear(x))
    assert dict(model.named_modules()) == before


def test_the_beginning_is_pefts():
    adapters = Adapters(CONFIG, Rank(4, 4.0), ("q",))
    down = adapters.adapter("blocks.0.self_attn.q").down
    assert float(down.detach().abs().max()) <= 24**-0.5 and float(down.detach().std()) == pytest.approx(
        (3 * 24) ** -0.5, rel=0.2
    )
    assert not adapters.adapter("blocks.0.self_attn.q").up.any()
