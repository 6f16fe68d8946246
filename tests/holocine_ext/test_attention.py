"""The two attentions: against a masked dense oracle in fp64, and inside the transformer against the reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.layout import ShotLayout, plan_layout
from holocine_ext.shots.spans import TextSpans, allowed_key_ranges
from wan2.models.conditioning import Conditioning
from wan2.models.transformer import TransformerConfig, WanTransformer

DATA = Path(__file__).parents[1] / "data"
CASES = json.loads((DATA / "dit_cases.json").read_text(encoding="utf-8"))
LAYOUT = ShotLayout(17, (5, 13), 3)
RANGES = (((0, 4), (9, 12)), ((0, 12),), ((0, 2), (5, 6), (8, 12)))


def weighted(q: Tensor, k: Tensor, v: Tensor, counts: Tensor) -> Tensor:
    """Attention in which key j of query i counts `counts[i, j]` times; every shape [B, L, H, D]."""
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / q.shape[-1] ** 0.5 + counts.log()
    return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v)


def sparse_counts(layout: ShotLayout) -> Tensor:
    """How often a query of the sparse self-attention meets every key."""
    shot = torch.tensor(layout.shot_ids).repeat_interleave(layout.tokens_per_frame)
    counts = (shot[:, None] == shot[None, :]).double()
    for a, b in layout.first_frames:
        counts[:, a:b] += 1
    return counts


def tensors(length: int, keys: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(length)
    q = torch.randn(2, length, 2, 4, generator=generator, dtype=dtype)
    return q, *torch.randn(2, 2, keys, 2, 4, generator=generator, dtype=dtype).unbind()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 3))
def test_sparse_equals_the_oracle(num_frames: int, num_shots: int, tokens: int) -> None:
    layout = plan_layout(4 * num_shots + num_frames, num_shots, None, tokens)
    q, k, v = tensors(layout.tokens, layout.tokens)
    torch.testing.assert_close(SparseInterShotAttention(layout)(q, k, v), weighted(q, k, v, sparse_counts(layout)))


def test_one_shot_in_sparse_mode_is_not_dense() -> None:
    layout = ShotLayout(9, (), 2)
    q, k, v = tensors(layout.tokens, layout.tokens)
    sparse = SparseInterShotAttention(layout)(q, k, v)
    torch.testing.assert_close(sparse, weighted(q, k, v, sparse_counts(layout)))
    assert (sparse - weighted(q, k, v, torch.ones(6, 6, dtype=torch.float64))).abs().max() > 1e-3


def test_windows_equal_the_oracle() -> None:
    q, k, v = tensors(LAYOUT.tokens, 12)
    counts = torch.zeros(LAYOUT.tokens, 12, dtype=torch.float64)
    for (a, b), ranges in zip(LAYOUT.shots, RANGES, strict=True):
        for start, stop in ranges:
            counts[a:b, start:stop] = 1
    torch.testing.assert_close(WindowCrossAttention(LAYOUT, RANGES)(q, k, v), weighted(q, k, v, counts))


@pytest.mark.parametrize("attention", [SparseInterShotAttention(LAYOUT), WindowCrossAttention(LAYOUT, RANGES)])
def test_gradients_pass_and_do_not_change_the_numbers(attention: SparseInterShotAttention) -> None:
    q, k, v = (x.requires_grad_() for x in tensors(LAYOUT.tokens, LAYOUT.tokens))
    out = attention(q, k, v)
    with torch.no_grad():
        assert torch.equal(out, attention(q, k, v))
    out.square().sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in (q, k, v))


class Syncs(TorchDispatchMode):
    """Counts the operations that make a device wait, or that build a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> object:  # noqa: ANN001
        name = str(func)
        if any(word in name for word in ("_local_scalar_dense", "nonzero", "mask", "index")):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("attention", [SparseInterShotAttention(LAYOUT), WindowCrossAttention(LAYOUT, RANGES)])
def test_no_masks_and_no_syncs(attention: SparseInterShotAttention) -> None:
    q, k, v = tensors(LAYOUT.tokens, LAYOUT.tokens)
    with Syncs() as syncs, torch.no_grad():
        attention(q, k, v)
    assert syncs.found == []


def test_the_given_kernel_is_called_once_a_shot() -> None:
    calls: list[tuple[int, int]] = []

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        calls.append((q.shape[1], k.shape[1]))
        assert v.shape == k.shape
        return q

    q, k, v = tensors(LAYOUT.tokens, LAYOUT.tokens)
    assert torch.equal(SparseInterShotAttention(LAYOUT, kernel)(q, k, v), q)
    assert torch.equal(WindowCrossAttention(LAYOUT, RANGES, kernel)(q, k, v), q)
    assert calls == [(6, 15), (6, 15), (3, 12), (6, 7), (6, 12), (3, 7)]


class Spent:
    """Projections that forget a token as soon as its result was handed out, as the transformer overwrites it."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, own_keys: bool) -> None:
        self.q, self.k, self.v, self.own_keys = q, k.clone(), v.clone(), own_keys
        self.num_queries, self.num_keys = q.shape[1], k.shape[1]
        self.projected: list[int] = []

    def queries(self, start: int, stop: int) -> Tensor:
        return self.q[:, start:stop]

    def keys(self, start: int, stop: int, into: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        self.projected += range(start, stop)
        k, v = self.k[:, start:stop], self.v[:, start:stop]
        return (k.clone(), v.clone()) if into is None else (into[0].copy_(k), into[1].copy_(v))

    def spend(self, start: int, stop: int) -> None:
        if self.own_keys:
            self.k[:, start:stop] = self.v[:, start:stop] = torch.nan


@pytest.mark.parametrize("attention", [SparseInterShotAttention(LAYOUT), WindowCrossAttention(LAYOUT, RANGES)])
@pytest.mark.parametrize("at_once", [2, 100])
def test_shot_by_shot_is_the_same(
    attention: SparseInterShotAttention | WindowCrossAttention, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wan2.models.chunks.TOKENS_AT_ONCE", at_once)
    sparse = isinstance(attention, SparseInterShotAttention)
    q, k, v = tensors(LAYOUT.tokens, LAYOUT.tokens if sparse else 12)
    tokens, found = Spent(q, k, v, own_keys=sparse), []
    for part in attention.parts(tokens):
        assert part.shape[1] <= at_once
        tokens.spend(sum(p.shape[1] for p in found), sum(p.shape[1] for p in found) + part.shape[1])
        found.append(part)
    torch.testing.assert_close(torch.cat(found, 1), attention(q, k, v))
    if sparse:
        assert sorted(tokens.projected) == list(range(LAYOUT.tokens))  # no key is made twice


def test_tensors_of_another_video_are_refused() -> None:
    q, k, v = tensors(9, 12)
    with pytest.raises(ValueError, match="9 queries for a layout of 15 tokens"):
        SparseInterShotAttention(LAYOUT)(q, k, v)
    with pytest.raises(ValueError, match="9 queries for a layout of 15 tokens"):
        WindowCrossAttention(LAYOUT, RANGES)(q, k, v)
    for attention in (SparseInterShotAttention(LAYOUT), WindowCrossAttention(LAYOUT, RANGES)):
        with pytest.raises(ValueError, match="9 queries for a layout of 15 tokens"):
            next(attention.parts(Spent(q, k, v, own_keys=False)))
    with pytest.raises(ValueError, match="2 windows for 3 shots"):
        WindowCrossAttention(LAYOUT, RANGES[:2])


@pytest.fixture(scope="module")
def transformer() -> WanTransformer:
    config = {**CASES["config"], "patch_size": tuple(CASES["config"]["patch_size"])}
    model = WanTransformer(TransformerConfig(**config))
    model.load_state_dict(load_file(DATA / "dit_high_noise.safetensors"))
    return model


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: f"case{case['case']}")
def test_the_transformer_equals_the_reference(transformer: WanTransformer, case: dict) -> None:
    figures = load_file(DATA / "dit_cases.safetensors")
    layout = ShotLayout(case["num_frames"], tuple(case["shot_cut_frames"]), case["height"] * case["width"] // 256)
    spans = TextSpans(tuple(case["global"]), tuple(map(tuple, case["shots"])))
    context, latents = figures[f"{case['case']}.context"], figures[f"{case['case']}.latents"]
    context, latents = context.reshape(1, *context.shape[-2:]), latents.reshape(1, *latents.shape[-4:])
    sparse = SparseInterShotAttention(layout)
    window = WindowCrossAttention(layout, allowed_key_ranges(spans, context.shape[1]) or ())
    passes = {
        "full.positive": Conditioning(context, cross_attn=window),
        "full.negative": Conditioning(context),
        "sparse.positive": Conditioning(context, sparse, window),
        "sparse.negative": Conditioning(context, sparse),
    }
    for name, conditioning in passes.items():
        with torch.inference_mode():
            found = transformer(latents, torch.tensor([case["timestep"]]), conditioning)
        expected = figures[f"{case['case']}.{name}"].reshape(found.shape)
        torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)
