"""What a forward of the true 14B shape costs, counted without running it: `python -m benchmarks.forward`.

Tensors without numbers go through the very code that runs: operations by PyTorch's own counter, bytes by following
every storage, and every operator that would make the host wait for the device. Forwards of no layer and of one are
counted; 40 layers are one 40 times, since a block costs what the one before it costs.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.counting import LiveBytes, Waits
from holocine_ext.shots.attention import SparseInterShotAttention, WindowCrossAttention
from holocine_ext.shots.layout import ShotLayout, plan_layout
from wan2.models.attention import DenseAttention
from wan2.models.conditioning import Conditioning, dense_attention
from wan2.models.config import A14B
from wan2.models.transformer import WanTransformer
from wan2.streaming.layout import block_layout
from wan2.streaming.residency import RING_BLOCKS

ROWS, COLUMNS, TEXT = 60, 104, 512
TOKENS_PER_FRAME = ROWS * COLUMNS // 4
FRAMES, SHOTS = (81, 241, 961), range(1, 14)
ALLOWED_BYTES = {True: 3.6e9, False: 5.6e9}
MEMORY_FRAMES, MEMORY_SHOTS = 241, 6
RING_BYTES = RING_BLOCKS * block_layout(A14B, torch.bfloat16).nbytes
# A kernel that needs no memory but its result, as the fused ones do.
fused = DenseAttention("fused", lambda q, _k, _v: torch.empty_like(q))


def true_layout(num_frames: int, num_shots: int) -> ShotLayout:
    """Even shots of a video of 480x832."""
    return plan_layout(num_frames, num_shots, None, TOKENS_PER_FRAME)


@cache
def model_of(layers: int) -> WanTransformer:
    """A transformer of the true sizes in bfloat16, without numbers."""
    with torch.device("meta"):
        return WanTransformer(replace(A14B, num_layers=layers)).bfloat16().requires_grad_(False)


def forward(layout: ShotLayout, sparse: bool, layers: int, dense: DenseAttention, passes: int = 1) -> list[Tensor]:
    """One forward without numbers; of several passes together, as with streamed blocks."""
    model = model_of(layers)
    with torch.device("meta"):
        latents, timestep = torch.empty(1, A14B.in_dim, layout.latent_frames, ROWS, COLUMNS), torch.empty(1)
        context = torch.empty(1, TEXT, A14B.text_dim, dtype=torch.bfloat16)
    windows = WindowCrossAttention(layout, (((0, TEXT),),) * layout.num_shots, dense)
    own = SparseInterShotAttention(layout, dense) if sparse else dense
    with torch.inference_mode():
        return model.run_together(latents, timestep, [Conditioning(context, own, windows)] * passes)


def counted_flops(layout: ShotLayout, sparse: bool) -> float:
    """Operations of a forward of 40 layers."""
    counted = []
    for layers in (0, 1):
        with FlopCounterMode(display=False) as counter:
            forward(layout, sparse, layers, dense_attention)
        counted.append(counter.get_total_flops())
    ends, with_one = counted
    return ends + A14B.num_layers * (with_one - ends)


def formula_flops(layout: ShotLayout, sparse: bool) -> float:
    """24.35 GFLOP a token, and 4 * dim * layers for every pair of a query and a key."""
    shared = layout.num_shots * TOKENS_PER_FRAME
    pairs = sum((b - a) * (b - a + shared) for a, b in layout.shots) if sparse else layout.tokens**2
    return 24.35e9 * layout.tokens + 4 * A14B.dim * A14B.num_layers * pairs


def live_bytes(layout: ShotLayout, sparse: bool, passes: int = 1) -> int:
    """The most that is alive at once in a forward: everything but the weights."""
    model_of(1)
    with LiveBytes() as live:
        forward(layout, sparse, 1, fused, passes)
    return live.peak


def waits(layout: ShotLayout, sparse: bool) -> Waits:
    """The operators of a forward of one layer, and those of them that wait for the device."""
    model_of(1)
    with Waits() as found:
        forward(layout, sparse, 1, fused)
    return found


def flops_table(lengths: Sequence[int], shots: Sequence[int]) -> list[str]:
    """A line for each video: of each length full, and sparse for each number of shots."""
    lines = ["frames  tokens  variant  shots  formula, PFLOP  counted, PFLOP  ratio"]
    for num_frames in lengths:
        for sparse, num_shots in [(False, 1), *((True, n) for n in shots)]:
            layout = true_layout(num_frames, num_shots)
            formula, counted = formula_flops(layout, sparse), counted_flops(layout, sparse)
            lines.append(
                f"{num_frames:6} {layout.tokens:7}  {'sparse' if sparse else 'full':7}  {num_shots:5}  "
                f"{formula / 1e15:14.2f}  {counted / 1e15:14.2f}  {counted / formula:5.3f}"
            )
    return lines


def memory_table() -> list[str]:
    """A line for each variant and number of passes."""
    layout = true_layout(MEMORY_FRAMES, MEMORY_SHOTS)
    lines = [f"{MEMORY_FRAMES} frames, {MEMORY_SHOTS} shots     work, GB  + ring of {RING_BLOCKS} blocks, GB  mark, GB"]
    for sparse in (True, False):
        for passes in (1, 2):
            work = live_bytes(layout, sparse, passes)
            mark = f"{ALLOWED_BYTES[sparse] / 1e9:8.1f}" if passes == 1 else "       -"
            what = f"{'sparse' if sparse else 'full'}, passes {'together' if passes > 1 else 'apart'}"
            lines.append(f"{what:23}  {work / 1e9:8.2f}  {(work + RING_BYTES) / 1e9:22.2f}  {mark}")
    return lines


def waits_table() -> list[str]:
    """A line for each variant."""
    layout = true_layout(MEMORY_FRAMES, MEMORY_SHOTS)
    lines = ["variant  operators a layer  that wait for the device"]
    for sparse in (False, True):
        found = waits(layout, sparse)
        lines.append(f"{'sparse' if sparse else 'full':7}  {found.operators:17}  {len(found.found):24}")
    return lines


def main() -> int:
    """Print the three tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.forward", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES, metavar="N")
    parser.add_argument("--shots", type=int, nargs="+", default=SHOTS, metavar="N")
    args = parser.parse_args()
    lines = [
        f"counted    torch {torch.__version__}, {platform.system()}; nothing was computed",
        "model      14B shape, bfloat16, 480x832, 512 text positions",
        "",
        *flops_table(args.frames, args.shots),
        "",
        *memory_table(),
        "",
        *waits_table(),
        "",
        "On a GPU: not measured.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
