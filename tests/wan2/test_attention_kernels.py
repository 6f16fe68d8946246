"""Dense attention by one kernel or another: what is chosen, what is refused, and that they agree."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.refused import refused
from tests.wan2.reference import CONFIG
from wan2.errors import InputError
from wan2.models import kernels
from wan2.models.attention import AttentionProcessor, DenseAttention, attend_in_parts, dense_attention
from wan2.models.conditioning import Attentions, attend_densely
from wan2.models.kernel_table import CANDIDATES, KERNELS, check_kernel
from wan2.models.kernels import Call, choose_kernel
from wan2.plan.files import Files
from wan2.plan.plan import Extension, Plan
from wan2.plan.saved import SavedState
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.run.attention_choice import choose_attention, largest_call
from wan2.run.machine import resolve_machine

CPU = torch.device("cpu")
CALL = Call(queries=70, keys=130, heads=3, head_dim=16)


def given(call: Call = CALL) -> Call:
    return call


def never() -> Call:
    raise AssertionError("nothing is to be measured")


def noise(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    del k, v
    return torch.randn(q.shape, generator=torch.Generator().manual_seed(1), dtype=q.dtype)


def shapeless(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return dense_attention(q, k, v)[:, 1:]


def failing(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raise RuntimeError(f"heads of {q.shape[-1]} are\nnot supported {k.dtype} {v.dtype}")


def slow(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    time.sleep(0.5)
    return dense_attention(q, k, v)


def half(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return dense_attention(q.bfloat16(), k.bfloat16(), v.bfloat16()).to(q.dtype)


def test_dense_attention_is_softmax_attention() -> None:
    q, k, v = torch.randn(2, 5, 3, 8), torch.randn(2, 7, 3, 8), torch.randn(2, 7, 3, 8)
    weights = torch.einsum("bqhd,bkhd->bhqk", q, k).div(8**0.5).softmax(-1)
    torch.testing.assert_close(dense_attention(q, k, v), torch.einsum("bhqk,bkhd->bqhd", weights, v))


class Ready:
    """Projections that were made beforehand."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        self.q, self.k, self.v = q, k, v
        self.num_queries, self.num_keys = q.shape[1], k.shape[1]

    def queries(self, start: int, stop: int) -> Tensor:
        return self.q[:, start:stop]

    def keys(self, start: int, stop: int, into: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        assert into is None
        return self.k[:, start:stop], self.v[:, start:stop]


@pytest.mark.parametrize("processor", [dense_attention, shapeless])
def test_the_parts_are_the_whole(processor: AttentionProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wan2.models.chunks.TOKENS_AT_ONCE", 8)
    q, k, v = torch.randn(2, 21, 3, 8), torch.randn(2, 30, 3, 8), torch.randn(2, 30, 3, 8)
    parts = list(attend_in_parts(processor, Ready(q, k, v)))
    assert [part.shape[1] for part in parts] == ([7, 7, 7] if processor is dense_attention else [20])
    torch.testing.assert_close(torch.cat(parts, 1), processor(q, k, v))


@pytest.mark.parametrize("mode", ["sdpa", "auto"])
def test_the_cpu_has_sdpa_and_measures_nothing(mode: str) -> None:
    assert choose_kernel(mode, CPU, torch.float32, never, pytest.fail) == dense_attention


@pytest.mark.parametrize("mode", ["cudnn", "flash2", "flash3", "sage"])
def test_an_explicit_choice_works_or_raises(mode: str) -> None:
    with refused(f"--attn_mode {mode}: needs --device cuda, not cpu"):
        choose_kernel(mode, CPU, torch.float32, given, pytest.fail)
    with refused(f"--attn_mode {mode}: needs --device cuda, not cpu"):
        make_request(WAN22_T2V, {"prompt": "-", "device": "cpu", "attn_mode": mode})


@pytest.mark.parametrize("mode", ["flash2", "flash3", "sage"])
def test_an_absent_package_is_named_with_the_line_that_installs_it(mode: str) -> None:
    try:
        __import__(str(KERNELS[mode].module))
    except ImportError:
        with refused(f"is not installed; install it with: pip install .*{mode[:4]}"):
            check_kernel(mode, "cuda")
    else:
        check_kernel(mode, "cuda")


def test_an_unknown_kernel_is_refused() -> None:
    with refused("--attn_mode magic: must be one of auto, sdpa, cudnn"):
        choose_kernel("magic", CPU, torch.float32, given, pytest.fail)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (noise, "is off by .* of the fp32 result, may be 0.002"),
        (half, "is off by .* of the fp32 result, may be 0.002"),
        (shapeless, r"returns \[1, 69, 3, 16\] for queries of \[1, 70, 3, 16\]"),
        (failing, r"fails here \(heads of 16 are not supported"),
    ],
)
def test_auto_refuses_what_is_not_attention_and_says_so(bad: AttentionProcessor, why: str) -> None:
    said: list[str] = []
    candidates = [DenseAttention("bad", bad), dense_attention]
    assert choose_kernel("auto", CPU, torch.float32, given, said.append, candidates) is dense_attention
    assert len(said) == 1
    assert said[0].startswith("attention kernel bad is not used: ")
    with refused("--attn_mode auto: none of bad, bad works here"):
        choose_kernel("auto", CPU, torch.float32, given, said.append, [DenseAttention("bad", bad)] * 2)
    assert re.search(why, said[0])


def test_auto_takes_the_faster() -> None:
    candidates = [DenseAttention("slow", slow), dense_attention]
    for order in (candidates, candidates[::-1]):
        assert choose_kernel("auto", CPU, torch.float32, given, pytest.fail, order) is dense_attention


def test_half_precision_is_near_enough_in_half_precision() -> None:
    chosen = DenseAttention("half", half)
    candidates = [chosen, DenseAttention("slow", slow)]
    assert choose_kernel("auto", CPU, torch.bfloat16, given, pytest.fail, candidates) is chosen


def test_a_kernel_asked_for_that_returns_noise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kernels._LOADERS, "flex", lambda: noise)
    with refused("--attn_mode flex: is off by .*; auto takes one that works"):
        choose_kernel("flex", CPU, torch.float32, given, pytest.fail)


def test_the_largest_call_is_found_by_running_the_attention() -> None:
    def halves(dense: AttentionProcessor) -> tuple[Attentions, Attentions]:
        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return torch.cat([dense(q[:, :60], k[:, :90], v[:, :90]), dense(q[:, 60:], k, v)], 1)

        return Attentions(attend), Attentions(dense)

    assert largest_call(halves, 100, CONFIG) == (60, 90, CONFIG.num_heads, CONFIG.head_dim)
    assert largest_call(attend_densely, 10_000, CONFIG) == (4096, 10_000, CONFIG.num_heads, CONFIG.head_dim)


def test_a_run_goes_on_with_the_kernel_of_its_state() -> None:
    request = make_request(WAN22_T2V, {"prompt": "-", "device": "cpu"})
    plan, machine = Plan(request, Extension(), Files(), {}), resolve_machine(request.compute)
    state = SavedState(Path("a.state"), 0, {}, {}, {}, {}, "", {"attention": "sdpa"}, {}, passes=0)
    for saved in (None, state):
        assert choose_attention(replace(plan, saved=saved), attend_densely, machine, pytest.fail) == dense_attention
    for name, why in (("cudnn", "was saved with the kernel cudnn, now refused"), ("magic", "'magic'"), (None, "None")):
        with refused(f"--resume a.state: .*{why}"):
            other = replace(state, machine={"attention": name})
            choose_attention(replace(plan, saved=other), attend_densely, machine, pytest.fail)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mode", [*KERNELS, "auto"])
def test_kernels_agree(mode: str) -> None:
    cuda = torch.device("cuda")
    try:
        kernel = choose_kernel(mode, cuda, torch.bfloat16, lambda: Call(300, 500, 4, 128), print)
    except InputError as absent:
        pytest.skip(str(absent))
    q, k, v = (torch.randn(1, n, 4, 128, device=cuda, dtype=torch.bfloat16) for n in (300, 500, 500))
    exact = dense_attention(q.float(), k.float(), v.float())
    assert (kernel(q, k, v).float() - exact).abs().max() < (0.1 if mode == "sage" else 0.02)
    assert mode != "auto" or kernel.name in CANDIDATES
