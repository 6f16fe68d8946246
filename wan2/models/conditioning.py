"""The seam: the inputs of one pass of the transformer other than the latents. Knows nothing of prompts.

An extension changes the attention of every layer by passing a `Conditioning` with its own processors; nothing is
installed on a model, so two passes of one model may attend differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from wan2.models.attention import AttentionProcessor, dense_attention
from wan2.models.config import TOKENS_PER_POSITION

if TYPE_CHECKING:
    from torch import Tensor

    from wan2.models.branches import Strengths

__all__ = ["AttentionProcessor", "Attentions", "Conditioning", "PlanAttentions", "attend_densely", "dense_attention"]


TextKeys = dict[int, tuple["Tensor", "Tensor"]]
"""Keys and values of a text, each [B, 512, H, D], by block."""


@dataclass(frozen=True)
class Attentions:
    """The two attentions of one pass, before there is a text to attend to."""

    self_attn: AttentionProcessor = dense_attention
    cross_attn: AttentionProcessor = dense_attention


PlanAttentions = Callable[[AttentionProcessor], tuple[Attentions, Attentions]]
"""Given the dense kernel of the run: the attentions of its passes with the prompt, and with the negative prompt."""


def attend_densely(dense: AttentionProcessor) -> tuple[Attentions, Attentions]:
    """Every token attends to every token and to the whole text, in both passes."""
    return Attentions(dense, dense), Attentions(dense, dense)


@dataclass(frozen=True)
class Conditioning:
    """One pass: its text, its two attentions, and the latent channels joined to the noisy ones, if any.

    context: [B, 512, text_dim], zero after the last token.
    extra_channels: [B or 1, n, F, h, w], for a transformer whose `in_dim` exceeds the channels of the latents by n.
    strengths: how much of each adapter beside the transformer's weights counts; without, what it was loaded with.
    text_keys: where the first step leaves the keys and values of the text for the next; None keeps nothing.
    """

    context: Tensor
    self_attn: AttentionProcessor = dense_attention
    cross_attn: AttentionProcessor = dense_attention
    extra_channels: Tensor | None = None
    strengths: tuple[Strengths, ...] = ()
    text_keys: TextKeys | None = field(default=None, compare=False, repr=False)

    def keeping_text(self, tokens: int) -> Conditioning:
        """This pass with room for the keys and values of its text, if a clip of `tokens` tokens gains by keeping them.

        They belong to one transformer: use the result with that transformer only.
        """
        if tokens > TOKENS_PER_POSITION * self.context.shape[1]:
            return self
        return replace(self, text_keys={})
