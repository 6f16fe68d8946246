"""How fast a machine is: products, attention kernels, a block of the true width, copies. Random numbers only."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from holocine_ext.check.findings import Finding
from holocine_ext.check.runs import apart
from holocine_ext.shots.conditioning import plan_attentions
from holocine_ext.shots.flops import attended, attention_pairs, forward_flops, text_pairs
from holocine_ext.shots.layout import ShotLayout, plan_layout
from wan2.errors import is_out_of_memory
from wan2.models.attention import DenseAttention
from wan2.models.conditioning import Conditioning
from wan2.models.config import A14B
from wan2.models.fused import cannot_fuse, fused_regions
from wan2.models.kernels import ALLOWED_ERROR, loadable, off_by
from wan2.models.layers import REGIONS, Regions
from wan2.models.transformer import WanTransformer
from wan2.plan.budget import transformer_bytes
from wan2.plan.memory import CUDA_WORKSPACES, Clip, Decoding, Memory, ValueBytes, predict_memory
from wan2.run.machine import Machine
from wan2.text.tokenizer import TEXT_LENGTH


class Sizes(NamedTuple):
    """How often everything is timed; sizes of square matrices, of a scene, and of what is copied, in bytes."""

    repeats: int
    side: int
    frames: int
    shots: int
    tokens_per_frame: int
    nbytes: int


TRUE_WIDTH = "a block of the true width"
TIMESTEP = torch.tensor(900.0)
# Of a result in half precision: how far fused kernels may be from plain ones.
FUSED_APART = 1e-2
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BLOCK = replace(A14B, num_layers=1)
GB = 1e9
# Of a forecast of one pass in half precision.
NO_VIDEO, TWO = Decoding(0, 0, 0), ValueBytes(2)
# On a processor, sizes at which all of it takes a minute; on a GPU, those of a scene: 81 frames at 480x832, six shots.
SMALL = Sizes(repeats=1, side=512, frames=9, shots=2, tokens_per_frame=64, nbytes=2**27)
LARGE = Sizes(repeats=3, side=8192, frames=81, shots=6, tokens_per_frame=1560, nbytes=2**29)


def sizes(machine: Machine) -> Sizes:
    """The sizes for a machine."""
    return SMALL if machine.device.type == "cpu" else LARGE


def products(machine: Machine) -> Iterator[Finding]:
    """Products of square matrices in each dtype."""
    side = sizes(machine).side
    for dtype in DTYPES:
        a, b = (torch.randn(side, side, device=machine.device).to(dtype) for _ in range(2))
        yield _rate("products", f"{_name(dtype)}, {side} x {side}", partial(torch.matmul, a, b), 2 * side**3, machine)


def kernels(machine: Machine) -> Iterator[Finding]:
    """Every attention kernel that can be loaded, on the longest call of a sparse scene: its rate, and its error."""
    layout = _layout(machine)
    tokens = max(stop - start for start, stop in layout.shots)
    keys = tokens + layout.num_shots * layout.tokens_per_frame
    for dtype in {torch.float32, machine.dtype}:
        for kernel in loadable(machine.device):
            yield _kernel(kernel, machine, dtype, tokens, keys)


def _kernel(kernel: DenseAttention, machine: Machine, dtype: torch.dtype, tokens: int, keys: int) -> Finding:
    heads, width = A14B.num_heads, A14B.head_dim
    q = torch.randn(1, tokens, heads, width, device=machine.device).to(dtype)
    k, v = (torch.randn(1, keys, heads, width, device=machine.device).to(dtype) for _ in range(2))
    name = f"{kernel.name}, {_name(dtype)}"
    try:
        error, allowed = off_by(kernel, (q, k, v)), ALLOWED_ERROR[dtype]
        seconds = _seconds(partial(kernel, q, k, v), machine)
    except (RuntimeError, ValueError, AssertionError) as failed:  # how kernels refuse a size, a type or a card
        if is_out_of_memory(failed):
            raise
        return Finding("attention kernels", name, f"refuses: {' '.join(str(failed).split())[:120]}")
    rate = 4 * tokens * keys * heads * width / seconds / 1e12
    words = f"{rate:.3g} TFLOP/s, off by {error:.1e} of fp32"
    return Finding("attention kernels", name, words, rate, "TFLOP/s", error <= allowed)


def block(machine: Machine) -> Iterator[Finding]:
    """One block of the true width, full and sparse, at the shapes of a scene: its rate, as a run would use it.

    On a GPU also the rate without fused kernels, how far both are apart, and the memory.
    """
    layout, model = _layout(machine), _block(machine)
    latents, context = _inputs(machine, layout)
    ways, dense, others = _ways(machine), loadable(machine.device)[0], list[Finding]()
    for sparse in (False, True):
        own, _ = plan_attentions(layout, None, sparse, dense)
        given = Conditioning(context, own.self_attn, own.cross_attn)
        pairs = attention_pairs(layout, sparse), text_pairs(layout, None, TEXT_LENGTH)
        flops = forward_flops(BLOCK, *pairs, layout.tokens, TEXT_LENGTH)
        name = f"{'sparse' if sparse else 'full'}, {layout.tokens:,} tokens, {layout.num_shots} shots"
        run = partial(model, latents, TIMESTEP, given)
        for group, regions in ways.items():
            model.regions = regions
            yield _rate(group, name, run, flops, machine)
        if len(ways) > 1:
            others.append(_fused(name, model, run, list(ways.values())))
        if machine.device.type == "cuda":
            memory = predict_memory(BLOCK, Clip(layout.tokens, attended(layout, sparse)), NO_VIDEO, TWO)
            others.append(_reserved(name, run, memory, machine))
    yield from others


def _block(machine: Machine) -> WanTransformer:
    torch.manual_seed(0)
    with torch.device(machine.device):
        return WanTransformer(BLOCK).to(machine.dtype).eval().requires_grad_(False)


def _inputs(machine: Machine, layout: ShotLayout) -> tuple[Tensor, Tensor]:
    """Latents of a scene, and a text."""
    latents = torch.randn(1, BLOCK.in_dim, layout.latent_frames, 2, 2 * layout.tokens_per_frame, device=machine.device)
    return latents, torch.randn(1, TEXT_LENGTH, BLOCK.text_dim, dtype=machine.dtype, device=machine.device)


def _ways(machine: Machine) -> dict[str, Regions]:
    """The regions that a run uses by default, and the plain ones where those are others, by the name of their group."""
    if cannot_fuse(machine.device, machine.dtype):
        return {TRUE_WIDTH: REGIONS}
    return {TRUE_WIDTH: fused_regions(), "the same without fused kernels": REGIONS}


def _fused(name: str, model: WanTransformer, run: Callable[[], Tensor], ways: Sequence[Regions]) -> Finding:
    """How far fused kernels are from plain ones."""
    made = []
    for regions in reversed(ways):
        model.regions = regions
        with torch.inference_mode():
            made.append(run())
    error = apart(made[1], made[0])
    words = f"{error:.1e} apart, may be {FUSED_APART:g}"
    return Finding("fused kernels and plain ones", name, words, error, "", error <= FUSED_APART)


def _reserved(name: str, run: Callable[[], object], memory: Memory, machine: Machine) -> Finding:
    """What a GPU reserves for a pass, beside what is forecast for its weights and its work."""
    machine.release()
    machine.start_measuring()
    with torch.inference_mode():
        run()
    found = torch.cuda.max_memory_reserved(machine.device) / GB
    forecast = (transformer_bytes(memory) + CUDA_WORKSPACES) / GB
    words = f"{found:.3g} GB reserved, {forecast:.3g} GB forecast"
    return Finding("memory", name, words, found, "GB", found <= forecast)


def copies(machine: Machine, folder: Path) -> Iterator[Finding]:
    """Bytes a second from the disk, and to the device from host memory, pinned and not."""
    size = sizes(machine).nbytes
    yield _disk(folder, size)
    if machine.device.type == "cpu":
        return
    target = torch.empty(size, dtype=torch.uint8, device=machine.device)
    for name, source in (
        ("pageable memory to the device", torch.ones(size, dtype=torch.uint8)),
        ("pinned memory to the device", torch.ones(size, dtype=torch.uint8).pin_memory(machine.device)),
    ):
        seconds = _seconds(partial(target.copy_, source, non_blocking=True), machine)
        yield Finding("copies", name, f"{size / seconds / GB:.3g} GB/s", size / seconds / GB, "GB/s")


def _disk(folder: Path, size: int) -> Finding:
    path = folder / "copied"
    path.write_bytes(os.urandom(2**20) * (size // 2**20))
    if hasattr(os, "posix_fadvise"):  # the system forgets what it kept of the file
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        memory = bytearray(2**22)
        while file.readinto(memory):
            pass
    seconds = time.perf_counter() - began
    path.unlink()
    words = f"{size / seconds / GB:.3g} GB/s in {folder}"
    return Finding("copies", "disk to host memory", words, size / seconds / GB, "GB/s")


def _layout(machine: Machine) -> ShotLayout:
    asked = sizes(machine)
    return plan_layout(asked.frames, asked.shots, None, asked.tokens_per_frame)


def _rate(group: str, name: str, call: Callable[[], object], flops: int, machine: Machine) -> Finding:
    seconds = _seconds(call, machine)
    rate = flops / seconds / 1e12
    return Finding(group, name, f"{rate:.3g} TFLOP/s, {seconds:.3g} s", rate, "TFLOP/s")


def _seconds(call: Callable[[], object], machine: Machine) -> float:
    """The shortest time of a few calls, after one that is not counted."""
    taken = []
    with torch.inference_mode():
        for _ in range(sizes(machine).repeats + 1):
            machine.wait()
            began = time.perf_counter()
            call()
            machine.wait()
            taken.append(time.perf_counter() - began)
    return min(taken[1:])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
