from __future__ import annotations

import pytest
import torch

from wan2.errors import InputError
from wan2.models.attention import attention_kernel, dense_attention

KERNELS = ("sdpa", "auto", "flash2", "flash3", "sage")


def test_dense_attention_is_softmax_attention() -> None:
    q, k, v = torch.randn(2, 5, 3, 8), torch.randn(2, 7, 3, 8), torch.randn(2, 7, 3, 8)
    weights = torch.einsum("bqhd,bkhd->bhqk", q, k).div(8**0.5).softmax(-1)
    torch.testing.assert_close(dense_attention(q, k, v), torch.einsum("bhqk,bkhd->bqhd", weights, v))


@pytest.mark.parametrize("mode", ["sdpa", "auto"])
def test_the_cpu_has_sdpa(mode: str) -> None:
    assert attention_kernel(mode, "cpu") is dense_attention


@pytest.mark.parametrize("mode", ["flash2", "flash3", "sage"])
def test_an_explicit_choice_works_or_raises(mode: str) -> None:
    with pytest.raises(InputError, match=f"--attn_mode {mode}: needs a CUDA device"):
        attention_kernel(mode, "cpu")


def test_an_absent_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sageattention", None)
    with pytest.raises(InputError, match="pip install sageattention"):
        attention_kernel("sage", "cuda")


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(InputError, match="--attn_mode magic: must be one of"):
        attention_kernel("magic", "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mode", KERNELS)
def test_kernels_agree(mode: str) -> None:
    try:
        kernel = attention_kernel(mode, "cuda")
    except InputError as absent:
        pytest.skip(str(absent))
    q, k, v = (torch.randn(1, n, 4, 128, device="cuda", dtype=torch.bfloat16) for n in (300, 500, 500))
    exact = dense_attention(q.float(), k.float(), v.float())
    assert (kernel(q, k, v).float() - exact).abs().max() < (0.1 if mode == "sage" else 0.02)
