"""The memory of training adapters, predicted by formula. Integers only; runs nothing.

What the constants are of is counted by `benchmarks/teaching_memory.py`, on tensors without numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from wan2.models.chunks import TOKENS_AT_ONCE
from wan2.models.config import TransformerConfig
from wan2.streaming.residency import WeightBytes
from wan2.text.tokenizer import TEXT_LENGTH
from wan2.training.pieces import Pieces

FP32 = 4
# A run of queries through a whole block with everything its gradient needs, in fp32 values for each value of the
# stream, and for each value between the two linears of the feed-forward.
RUN_COPIES, HIDDEN_COPIES = 18, 3
# Keys and values of a piece: joined, their gradients, what a kernel returns before it is added.
KEY_COPIES = 7
# The input of a block, its gradient, and the gradient that is made.
STREAMS = 3
# An adapter's values: themselves, gradient, two moments, average; of these, moments may take a byte.
ADAPTER_COPIES, MOMENTS = 5, 2


class TrainingMemory(NamedTuple):
    """Predicted bytes on the computing device and in host memory beside it."""

    device: int
    host: int


@dataclass(frozen=True)
class Trained:
    """What is trained: how many values adapters have; on_host: inputs of blocks wait in host memory; eight_bit: of the
    optimiser's moments."""

    values: int
    on_host: bool
    eight_bit: bool = False


def adapter_values(config: TransformerConfig, linears: tuple[str, ...], rank: int) -> int:
    """How many values the adapters of a transformer have."""
    shapes = config.block_shapes()
    return config.num_layers * sum(rank * sum(shapes[f"{linear}.weight"]) for linear in linears)


def predict_training(
    config: TransformerConfig, weights: WeightBytes, streamed: int, pieces: Pieces, trained: Trained, size: int
) -> TrainingMemory:
    """Predicted memory of a step.

    Args:
        config: sizes of the transformer.
        weights: bytes of its weights.
        streamed: how many of its blocks are streamed.
        pieces: the attentions of the longest clip.
        trained: the adapters.
        size: bytes of a value in the compute dtype.
    """
    tokens = pieces.own[-1].stop
    stream = tokens * config.dim * size
    longest = max(sum(b - a for a, b in piece.keys) for piece in pieces.own)
    shared = sum(b - a for a, b in pieces.shared)
    run = min(tokens, TOKENS_AT_ONCE)
    work = run * (RUN_COPIES * config.dim + HIDDEN_COPIES * config.ffn_dim) * FP32
    keys = (KEY_COPIES * longest + 4 * shared + KEY_COPIES * TEXT_LENGTH) * config.dim * size
    multiplied = config.dim * config.ffn_dim * FP32
    moments = MOMENTS * (1 if trained.eight_bit else FP32)
    adapters = trained.values * ((ADAPTER_COPIES - MOMENTS) * FP32 + moments)
    kept = config.num_layers * stream
    latents = 4 * tokens * math.prod(config.patch_size) * config.out_dim * FP32
    device = weights.on_device(streamed) + STREAMS * stream + work + keys + multiplied + adapters + latents
    device += 0 if trained.on_host else kept
    return TrainingMemory(device, weights.on_host(streamed, from_ram=False) + (kept if trained.on_host else 0))
