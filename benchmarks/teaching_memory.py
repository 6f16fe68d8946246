"""What training takes on a card: `python -m benchmarks.teaching_memory`, counted at the true shape without numbers.

Counted are the bytes of tensors alive at once while the gradient of one block of the 14B transformer is made, in
bfloat16, its input and the gradient of its output among them, by a kernel that keeps what flash attention keeps. To
that come the weights, the adapters with what an optimiser remembers, and the inputs of the other blocks, which are
integers. The last column is what `--dry_run` predicts.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.counting import LiveBytes
from benchmarks.table import columns, heading
from holocine_ext.shots.layout import ShotLayout, plan_layout
from holocine_ext.teach.pieces import pieces_of
from wan2.models.config import A14B
from wan2.models.forms import as_fp8
from wan2.models.fp8 import Fp8Linear
from wan2.models.held import hold
from wan2.models.layers import Block
from wan2.models.rope import Rope
from wan2.streaming.residency import weight_bytes
from wan2.training.adapter_table import TARGETS
from wan2.training.adapters import Adapters, Rank, adapted
from wan2.training.block_gradient import Surroundings, block_gradient
from wan2.training.memory import Trained, TrainingMemory, adapter_values, predict_training
from wan2.weights.fp8 import linears, quantised

GB = 1e9
RANK = 32
TOKENS_PER_FRAME = 1560
BF16 = 2


class Flash(torch.autograd.Function):
    """A kernel without numbers that keeps what flash attention keeps: its inputs and its result."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # noqa: ANN401
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        del gradient
        q, k, v, _ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


@dataclass(frozen=True)
class Case:
    """A row: length and number of shots of the longest clip, attention, how weights and inputs are held."""

    frames: int
    shots: int
    sparse: bool
    fp8: bool = True
    streamed: int = 0
    on_host: bool = True

    @property
    def layout(self) -> ShotLayout:
        """The shots, evenly divided, at 480x832."""
        return plan_layout(self.frames, self.shots, None, TOKENS_PER_FRAME)


def block_work(case: Case) -> int:
    """Bytes alive while the gradient of one block is made, without its weights."""
    layout = case.layout
    with torch.device("meta"):
        block = Block(A14B.dim, A14B.ffn_dim, A14B.num_heads, A14B.eps).bfloat16().requires_grad_(False)
        angles = torch.empty(layout.tokens, 1, A14B.head_dim // 2)
        time, text = torch.empty(1, 6, A14B.dim), torch.empty(1, 512, A14B.dim, dtype=torch.bfloat16)
    if case.fp8:
        hold(block, as_fp8(linears(A14B)))
        for linear in filter(lambda part: isinstance(part, Fp8Linear), block.modules()):
            linear.bias = nn.Parameter(linear.bias.bfloat16(), requires_grad=False)
    one = Adapters(A14B, Rank(1, 1.0), tuple(TARGETS)).to("meta")
    pieces = pieces_of(layout, None, case.sparse)
    around = Surroundings(text, time, Rope(angles, angles), pieces, Flash.apply)
    with LiveBytes() as live, adapted(block, one.of_block(5)) as own:
        x, gradient = (torch.empty(1, layout.tokens, A14B.dim, dtype=torch.bfloat16, device="meta") for _ in range(2))
        block_gradient(own, x, gradient, around)
    return live.peak


def predicted(case: Case) -> TrainingMemory:
    """What the formula says."""
    names = [name for target in TARGETS.values() for name in target]
    trained = Trained(adapter_values(A14B, tuple(names), RANK), case.on_host)
    weights = weight_bytes(A14B, BF16, as_fp8(quantised(A14B) if case.fp8 else ()))
    return predict_training(A14B, weights, case.streamed, pieces_of(case.layout, None, case.sparse), trained, BF16)


def counted(case: Case) -> float:
    """Bytes on the device: the work that was counted, and what is known of the rest."""
    weights = weight_bytes(A14B, BF16, as_fp8(quantised(A14B) if case.fp8 else ())).on_device(case.streamed)
    names = [name for target in TARGETS.values() for name in target]
    adapters = adapter_values(A14B, tuple(names), RANK) * 5 * 4
    kept = 0 if case.on_host else A14B.num_layers * case.layout.tokens * A14B.dim * BF16
    return block_work(case) + weights + adapters + kept


CASES = [
    Case(81, 3, False),
    Case(81, 3, True),
    Case(81, 3, False, fp8=False, streamed=36),
    Case(81, 3, False, streamed=36),
    Case(241, 6, False),
    Case(241, 6, True),
    Case(241, 13, True),
    Case(241, 6, True, streamed=36),
    Case(241, 6, False, fp8=False, streamed=36),
]


def main() -> None:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.teaching_memory", description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    rows = [["frames", "shots", "attention", "base", "streamed", "counted, GB", "host, GB", "predicted / counted"]]
    for case in CASES:
        known, memory = counted(case), predicted(case)
        held = ["sparse" if case.sparse else "full", "fp8" if case.fp8 else "bf16", f"{case.streamed} of 40"]
        figures = [f"{known / GB:.1f}", f"{memory.host / GB:.1f}", f"{memory.device / known:.2f}"]
        rows.append([str(case.frames), str(case.shots), *held, *figures])
    sys.stdout.write(heading("benchmarks.teaching_memory", sys.argv[1:]) + columns(rows))


if __name__ == "__main__":
    main()
