"""The dense attention kernel of one run: the one asked for, the one that the saved run used, or the best there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wan2.errors import InputError
from wan2.models.attention import DenseAttention
from wan2.models.chunks import TOKENS_AT_ONCE
from wan2.models.kernel_table import KERNELS
from wan2.models.kernels import Call, choose_kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from wan2.models.conditioning import PlanAttentions
    from wan2.models.config import TransformerConfig
    from wan2.plan.plan import Plan
    from wan2.plan.saved import SavedState
    from wan2.run.machine import Machine


def choose_attention(
    plan: Plan, attentions: PlanAttentions, machine: Machine, note: Callable[[str], None]
) -> DenseAttention:
    """The kernel that every attention of the run is made of; a run that goes on uses that of its state.

    Args:
        plan: the run.
        attentions: makes the attentions of its passes from a kernel.
        machine: where they run.
        note: gets a line for every kernel that is installed but does not work.

    Raises:
        InputError: it is not there or does not work.
    """

    def call() -> Call:
        return largest_call(attentions, plan.request.shape.tokens, plan.found.experts["high"].config)

    saved = plan.saved
    mode = plan.request.compute.attn_mode if saved is None else _saved_name(saved)
    try:
        return choose_kernel(mode, machine.device, machine.dtype, call, note)
    except InputError as error:
        if saved is None:
            raise
        rule = f"was saved with the kernel {mode}, now refused: {error.quoted}"
        raise InputError(rule, field="resume", value=saved.path) from error


def _saved_name(saved: SavedState) -> str:
    name = saved.machine.get("attention")
    if name not in KERNELS:
        raise InputError(
            f"was saved with no attention kernel of this program, but {name!r:.40}", field="resume", value=saved.path
        )
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
