"""What would break on a GPU, as far as it can be seen without one: dtypes that it lacks, calls that it refuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.refused import refused
from tests.wan2.fp8_files import SIX
from wan2.cli.main import prepare
from wan2.models import compiled, fp8
from wan2.models.attention import DenseAttention, dense_attention
from wan2.models.kernels import Call, choose_kernel
from wan2.models.transformer import WanTransformer
from wan2.request.compute import Compute
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.run import machine
from wan2.run.preview import fit_colours
from wan2.run.vae import wants_channels_last

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class NoFloat64(TorchDispatchMode):
    """Refuses float64 anywhere but on the host, as Apple's GPUs do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401, ARG002
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.device.type != "cpu":
            assert made.dtype != torch.float64, func
        return made


def test_time_is_embedded_without_float64_on_the_device() -> None:
    with torch.device("meta"):
        model = WanTransformer(SIX)
    with NoFloat64():
        time, projected = model.embed_time(torch.tensor(875.0))
    assert time.device.type == projected.device.type == "meta"
    with torch.device("meta"), pytest.raises(AssertionError), NoFloat64():
        torch.zeros(1, dtype=torch.float64)  # the check itself


class OnDevice(Tensor):
    """Latents of a device without float64."""

    def double(self) -> Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64")

    def cpu(self) -> Tensor:
        return self.as_subclass(Tensor)


def test_colours_are_fitted_without_float64_on_the_device() -> None:
    class Vae:
        def encode(self, card: Tensor) -> Tensor:
            frames = 1 + (card.shape[2] - 1) // 4
            made = torch.randn(1, 16, frames, card.shape[3] // 8, card.shape[4] // 8, generator=torch.Generator())
            return made.as_subclass(OnDevice)

    assert fit_colours(Vae()).shape == (17, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_auto_computes_in_what_the_card_has(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    made = machine.resolve_machine(Compute(device="cuda"))
    assert made.dtype == expected
    assert made.wide_dtype == (torch.float32 if expected == torch.float16 else torch.bfloat16)
    assert machine.resolve_machine(Compute(device="cuda", dtype="float32")).dtype == torch.float32


@pytest.mark.parametrize(
    ("version", "capability", "fp8_weights", "fits"),
    [
        ("2.12.1+cu126", (8, 6), True, False),
        ("2.11.0", (8, 0), True, False),
        ("2.12.1", (8, 6), False, True),
        ("2.12.1", (8, 9), True, True),
        ("2.13.0+cu130", (8, 6), True, True),
    ],
)
def test_fp8_is_compiled_only_where_triton_can(
    monkeypatch: pytest.MonkeyPatch, version: str, capability: tuple[int, int], fp8_weights: bool, fits: bool
) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr("torch.utils._triton.has_triton", lambda: True)
    if fits:
        compiled.check_compiler(CUDA, fp8_weights)
    else:
        with refused(f"--compile: PyTorch {version[:6]}.* cannot compile fp8 weights .* {capability[0]}"):
            compiled.check_compiler(CUDA, fp8_weights)


def raising(error: Exception) -> Callable[..., Tensor]:
    def kernel(*_: Tensor) -> Tensor:
        raise error

    return kernel


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")],
    ids=["torch", "cudnn"],
)
def test_memory_that_runs_out_while_a_kernel_is_chosen_is_no_fault_of_the_kernel(error: Exception) -> None:
    candidates = [DenseAttention("hungry", raising(error)), dense_attention]
    with pytest.raises(type(error)):
        choose_kernel("auto", CPU, torch.float32, lambda: Call(8, 8, 2, 16), pytest.fail, candidates)


def test_fp8_products_say_what_failed_and_run_out_of_memory_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fp8.FastFp8Linear, "forward", raising(RuntimeError("no kernel\nfor sm_75")))
    with refused(r"--fp8_fast: PyTorch .* on cpu \(no kernel for sm_75\); a GPU needs"):
        fp8.check_fast(CPU)
    monkeypatch.setattr(fp8.FastFp8Linear, "forward", raising(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        fp8.check_fast(CPU)


def test_convolutions_in_half_precision_are_channels_last_on_a_gpu() -> None:
    halves = (torch.bfloat16, torch.float16)
    assert all(wants_channels_last(CUDA, dtype) for dtype in halves)
    assert not wants_channels_last(CUDA, torch.float32)
    assert [wants_channels_last(CPU, dtype) for dtype in (*halves, torch.float32)] == [True, False, False]
    assert not wants_channels_last(torch.device("mps"), torch.bfloat16)


ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"


@pytest.mark.parametrize(
    ("platform", "before", "after"),
    [
        ("linux", {}, "expandable_segments:True"),
        ("linux", {ALLOCATOR: "max_split_size_mb:64"}, "max_split_size_mb:64"),
        ("linux", {"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, None),
        ("win32", {}, None),
    ],
)
def test_segments_grow_where_they_can_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, platform: str, before: dict[str, str], after: str | None
) -> None:
    for name in (ALLOCATOR, "PYTORCH_ALLOC_CONF"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    prepare(make_request(WAN22_T2V, {"prompt": "-"}))
    assert os.environ.get(ALLOCATOR) == after
