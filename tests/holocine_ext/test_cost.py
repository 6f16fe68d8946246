"""Costs: operations against PyTorch's own counter, memory against what is alive in a real forward; on meta tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.counting import LiveBytes
from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.flops import attended, attention_pairs, count_passes, forward_flops, text_pairs
from holocine_ext.shots.layout import ShotLayout, plan_layout
from wan2.models.attention import DenseAttention
from wan2.models.conditioning import Conditioning, dense_attention
from wan2.models.forms import as_fp8
from wan2.models.held import hold
from wan2.models.transformer import TransformerConfig, WanTransformer
from wan2.plan.memory import Clip, Decoding, Holding, Memory, ValueBytes, predict_memory
from wan2.sampling.schedule import timesteps
from wan2.weights.fp8 import linears, quantised

A14B = TransformerConfig(
    dim=5120, in_dim=16, ffn_dim=13824, out_dim=16, text_dim=4096, freq_dim=256, eps=1e-6,
    patch_size=(1, 2, 2), num_heads=40, num_layers=40,
)  # fmt: skip
TWO_LAYERS = TransformerConfig(**{**vars(A14B), "num_layers": 2})
LENGTH = 512
WHOLE = Holding()


def on_meta(config: TransformerConfig, layout: ShotLayout, conditioning: Conditioning) -> None:
    """One bf16 forward without numbers."""
    with torch.device("meta"):
        model = WanTransformer(config).bfloat16().requires_grad_(False)
        rows = layout.tokens_per_frame // 8
        latents, timestep = torch.empty(1, 16, layout.latent_frames, 2 * rows, 16), torch.empty(1)
    with torch.inference_mode():
        model(latents, timestep, conditioning)


def conditioning(layout: ShotLayout, sparse: bool, kernel: object = dense_attention) -> tuple[Conditioning, tuple]:
    ranges = tuple(((0, 100), (100 + 10 * i, 130 + 10 * i), (300, LENGTH)) for i in range(layout.num_shots))
    context = torch.empty(1, LENGTH, 4096, device="meta", dtype=torch.bfloat16)
    own = SparseInterShotAttention(layout, kernel) if sparse else kernel
    return Conditioning(context, own, WindowCrossAttention(layout, ranges, kernel)), ranges


@pytest.mark.parametrize("sparse", [True, False])
def test_flops_equal_the_counter(sparse: bool) -> None:
    layout = plan_layout(33, 3, None, 16)
    given, ranges = conditioning(layout, sparse)
    with FlopCounterMode(display=False) as counter:
        on_meta(TWO_LAYERS, layout, given)
    pairs = attention_pairs(layout, sparse), text_pairs(layout, ranges, LENGTH)
    assert forward_flops(TWO_LAYERS, *pairs, layout.tokens, LENGTH) == counter.get_total_flops()


@pytest.mark.parametrize(
    ("num_frames", "num_shots", "sparse", "petaflops"),
    [(241, 6, False, 9.74), (241, 3, True, 5.16), (241, 5, True, 4.41), (241, 6, True, 4.29), (241, 13, True, 4.47),
     (961, 1, False, 124.9), (961, 13, True, 24.3)],
)  # fmt: skip
def test_the_published_floor(num_frames: int, num_shots: int, sparse: bool, petaflops: float) -> None:
    layout = plan_layout(num_frames, num_shots, None, 1560)
    pairs = attention_pairs(layout, sparse), text_pairs(layout, None, LENGTH)
    flops = forward_flops(A14B, *pairs, layout.tokens, LENGTH)
    assert flops / 1e15 == pytest.approx(petaflops, rel=2e-3)


def test_passes() -> None:
    times = timesteps(50, 5.0, "euler")
    assert count_passes(times, 0.875, (5.0, 5.0), 0.0) == (50, 50)
    assert count_passes(times, 0.875, (5.0, 5.0), 0.3) == (50, 35)
    assert count_passes(times, 0.875, (5.0, 5.0), 1.0) == (50, 0)
    assert count_passes(times, 0.875, (1.0, 1.0), 0.0) == (50, 0)
    steps, negative = count_passes(times, 0.875, (1.0, 3.0), 0.0)
    assert steps == 50
    assert negative == 50 - count_passes(times, 0.875, (3.0, 1.0), 0.0)[1]
    assert 20 < negative < 50


def predicted(config: TransformerConfig, layout: ShotLayout, sparse: bool, holding: Holding = WHOLE) -> Memory:
    decoding = Decoding(layout.num_frames, 480 * 832, 480 * 832)
    return predict_memory(config, Clip(layout.tokens, attended(layout, sparse)), decoding, ValueBytes(2), holding)


def like_q(q: Tensor, *_: Tensor) -> Tensor:
    """A kernel that needs no memory but its result."""
    return torch.empty_like(q)


@pytest.mark.parametrize(("num_frames", "num_shots"), [(241, 6), (241, 1), (81, 3), (481, 13)])
@pytest.mark.parametrize("sparse", [True, False])
def test_predicted_work_is_what_is_alive(num_frames: int, num_shots: int, sparse: bool) -> None:
    layout = plan_layout(num_frames, num_shots, None, 1560)
    given, _ = conditioning(layout, sparse, DenseAttention("fused", like_q))
    one = TransformerConfig(**{**vars(A14B), "num_layers": 1})
    with torch.device("meta"):
        model = WanTransformer(one).bfloat16().requires_grad_(False)
        latents, timestep = torch.empty(1, 16, layout.latent_frames, 60, 104), torch.empty(1)
    with LiveBytes() as live, torch.inference_mode():
        model(latents, timestep, given)
    assert predicted(one, layout, sparse).transformer_work == pytest.approx(live.peak, rel=0.16)


@pytest.mark.parametrize(("num_frames", "num_shots"), [(81, 3), (481, 13)])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("fast", [False, True])
def test_predicted_work_in_fp8_is_what_is_alive(fast: bool, sparse: bool, num_frames: int, num_shots: int) -> None:
    layout = plan_layout(num_frames, num_shots, None, 1560)
    given, _ = conditioning(layout, sparse, DenseAttention("fused", like_q))
    one = TransformerConfig(**{**vars(A14B), "num_layers": 1})
    names = [f"blocks.0.{name}" for name in linears(one)]
    with torch.device("meta"):
        model = WanTransformer(one).bfloat16().requires_grad_(False)
        latents, timestep = torch.empty(1, 16, layout.latent_frames, 60, 104), torch.empty(1)
    forms = frozenset({"fp8"} if fast else ())
    hold(model, as_fp8(names), forms)
    for linear in (model.get_submodule(name.removesuffix(".weight")) for name in names):
        linear.bias.data = linear.bias.bfloat16()
    with LiveBytes() as live, torch.inference_mode():
        model(latents, timestep, given)
    memory = predicted(one, layout, sparse, Holding(held=as_fp8(names), fast=forms))
    assert memory.transformer_work == pytest.approx(live.peak, rel=0.1 if fast else 0.15)


def test_fp8_takes_half_the_memory_but_for_the_ends() -> None:
    layout = plan_layout(241, 6, None, 1560)
    plain, small = (
        predicted(A14B, layout, True, holding)
        for holding in (WHOLE, Holding(held=as_fp8(quantised(A14B)), encoder_value=1))
    )
    assert plain.transformer_weights - small.transformer_weights == pytest.approx(36 * 351e6, rel=0.01)
    assert 0 <= small.transformer_work - plain.transformer_work <= 4 * 5120 * 5120 * 2
    assert small.text_encoder == pytest.approx(0.65 * plain.text_encoder, rel=0.01)
    streamed, streamed_small = (
        predicted(A14B, layout, True, Holding(streamed=40, from_ram=True, held=as_fp8(fp8)))
        for fp8 in ((), quantised(A14B))
    )
    assert streamed_small.host < 0.6 * streamed.host


def test_the_memory_of_the_real_model() -> None:
    memory = predicted(A14B, plan_layout(241, 6, None, 1560), sparse=True)
    assert memory.transformer_weights == pytest.approx(28.6e9, rel=0.01)
    assert memory.peak == memory.transformer > memory.vae > memory.text_encoder


def test_streamed_blocks_wait_off_the_device() -> None:
    layout = plan_layout(241, 6, None, 1560)
    resident, one, all_disk, all_ram = (
        predicted(A14B, layout, True, Holding(streamed=streamed, from_ram=ram))
        for streamed, ram in ((0, False), (1, False), (40, False), (40, True))
    )
    stream, block = layout.tokens * 5120 * 2, 702e6
    assert one.transformer_weights > resident.transformer_weights
    assert resident.transformer_weights - all_disk.transformer_weights == pytest.approx(38 * block, rel=0.01)
    assert all_disk.transformer_work - resident.transformer_work == stream
    assert all_disk.host - resident.host == pytest.approx(2 * block, rel=0.01)
    assert all_ram.host - resident.host == pytest.approx(40 * block, rel=0.01)
