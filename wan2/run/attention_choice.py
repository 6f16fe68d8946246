"""The dense attention kernel of one run: the one asked for, the one that the saved run used, or the best there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wan2.errors import InputError
from wan2.models.attention import DenseAttention
from wan2.models.chunks import TOKENS_AT_ONCE
from wan2.models.kernel_table import KERNELS
from wan2.models.kernels import Call, choose_kernel
from wan2.weights.checkpoint import inspect_transformer

if TYPE_CHECKING:
    from torch import Tensor

    from wan2.events import Progress
    from wan2.models.conditioning import PlanAttentions
    from wan2.models.config import TransformerConfig
    from wan2.plan.saved import SavedState
    from wan2.request.request import Options
    from wan2.run.machine import Machine


def choose_attention(
    options: Options, machine: Machine, attentions: PlanAttentions, saved: SavedState | None, progress: Progress
) -> DenseAttention:
    """The kernel that every attention of the run is made of; a run that goes on uses that of its state.

    Raises:
        InputError: it is not there or does not work.
    """

    def call() -> Call:
        config = inspect_transformer(options.files.dit_high_noise).config
        return largest_call(attentions, options.shape.tokens, config)

    mode = options.attn_mode if saved is None else _saved_name(saved)
    try:
        kernel = choose_kernel(mode, machine.device, machine.dtype, call, progress.note)
    except InputError as error:
        if saved is None:
            raise
        raise InputError(f"--resume {saved.path}: was saved with the kernel {mode}, now refused: {error}") from error
    progress.say(f"Attention kernel: {kernel.name}")
    return kernel


def _saved_name(saved: SavedState) -> str:
    name = saved.machine.get("attention")
    if name not in KERNELS:
        raise InputError(f"--resume {saved.path}: was saved with no attention kernel of this program, but {name!r:.40}")
    return str(name)


def largest_call(attentions: PlanAttentions, tokens: int, config: TransformerConfig) -> Call:
    """The call with the most scores among those of one self-attention, found by running it on tensors without numbers.

    Args:
        attentions: makes the attentions from a dense kernel.
        tokens: those of the clip.
        config: says how many heads there are, and how wide.
    """
    calls = []

    def probe(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del v
        calls.append(Call(min(q.shape[1], TOKENS_AT_ONCE), k.shape[1], *q.shape[2:]))
        return q

    with torch.device("meta"):
        q, k, v = torch.empty(3, 1, tokens, config.num_heads, config.head_dim)
    positive, _ = attentions(DenseAttention("probe", probe))
    positive.self_attn(q, k, v)
    return max(calls, key=lambda call: call.queries * call.keys)
