"""How long does a step take? `python -m benchmarks.step`: one step with guidance, for each variant, against the floor.

The floor is the operations of the step, counted, at the rate of one large matrix product on the same device. On a
processor, seconds are those it worked, all threads together: with one thread (OMP_NUM_THREADS=1) the time on a machine
that does nothing else, and the rate of the last column is then what `--dry_run --tflops` takes. On a GPU they are those
until its work has ended.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from benchmarks.table import columns, heading, interleaved
from holocine_ext.presets import MODELS
from holocine_ext.shots.conditioning import plan_attentions
from holocine_ext.shots.flops import attention_pairs, forward_flops, text_pairs
from holocine_ext.shots.layout import ShotLayout, plan_layout
from wan2.models.conditioning import Conditioning, dense_attention
from wan2.models.config import A14B, TransformerConfig
from wan2.models.transformer import WanTransformer
from wan2.request.compute import Compute
from wan2.run.machine import Machine, resolve_machine
from wan2.text.tokenizer import TEXT_LENGTH
from wan2.weights.checkpoint import inspect_transformer

SIDE = 2048
# Name -> sizes of the transformer, frames, shots, latent rows and columns.
NANO = inspect_transformer(MODELS["nano"]["full"].model.expert("high").path).config
CASES: dict[str, tuple[TransformerConfig, int, int, int, int]] = {
    "nano, 33 frames, 64x64, 3 shots": (NANO, 33, 3, 8, 8),
    "nano, 97 frames, 64x64, 6 shots": (NANO, 97, 6, 8, 8),
    "one block of 14B, 17 frames, 128x128, 3 shots": (replace(A14B, num_layers=1), 17, 3, 16, 16),
}


def make_ways(
    machine: Machine, config: TransformerConfig, layout: ShotLayout, rows: int, columns: int
) -> dict[str, Callable[[], object]]:
    """A step of each variant, on random weights, and the product whose rate is the floor."""
    torch.manual_seed(0)
    with torch.device(machine.device):
        model = WanTransformer(config).to(machine.dtype).eval().requires_grad_(False)
        latents = torch.randn(1, config.in_dim, layout.latent_frames, rows, columns)
        contexts = torch.randn(2, 1, TEXT_LENGTH, config.text_dim, dtype=machine.dtype)
        a, b = (torch.randn(SIDE, SIDE, dtype=machine.dtype) for _ in range(2))

    def way(sparse: bool) -> Callable[[], object]:
        attentions = plan_attentions(layout, None, sparse, dense_attention)
        passes = [Conditioning(c, a.self_attn, a.cross_attn) for c, a in zip(contexts, attentions, strict=True)]
        passes = [one.keeping_text(layout.tokens) for one in passes]
        return lambda: model.passes(latents, torch.tensor(900.0), passes)

    return {"full": way(False), "sparse": way(True), "product": lambda: a @ b}


def seconds_until_now(machine: Machine) -> float:
    """The clock of a device: a processor's work, or the time when a GPU has done what is queued."""
    machine.wait()
    return time.process_time() if machine.device.type == "cpu" else time.perf_counter()


def main() -> None:
    """Measure, and print a row a case and variant."""
    parser = argparse.ArgumentParser(prog="benchmarks.step", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    args = parser.parse_args()
    machine = resolve_machine(Compute(device=args.device))
    table = [["a step with guidance, seconds", "floor", "measured", "ratio", "sparse saves", "TFLOP/s"]]
    with torch.inference_mode():
        for name, (config, frames, shots, rows, width) in CASES.items():
            layout = plan_layout(frames, shots, None, rows * width // 4)
            ways = make_ways(machine, config, layout, rows, width)
            for way in ways.values():
                way()
            seconds = interleaved(ways, args.rounds, partial(seconds_until_now, machine))
            rate = 2 * SIDE**3 / seconds.pop("product")
            for variant, measured in seconds.items():
                pairs = attention_pairs(layout, variant == "sparse"), text_pairs(layout, None, TEXT_LENGTH)
                # Clips so short keep the keys and values of their text from the step before: none of its positions.
                flops = 2 * forward_flops(config, *pairs, layout.tokens, 0)
                saves = f"{seconds['full'] / measured:.2f}x" if variant == "sparse" else ""
                cells = [f"{flops / rate:.3f}", f"{measured:.3f}", f"{measured * rate / flops:.2f}"]
                table.append([f"{name}, {variant}", *cells, saves, f"{flops / measured / 1e12:.4f}"])
    for variant in ("full", "sparse"):
        table.append([f"HoloCine, 241 frames, 480x832, 6 shots, {variant}", "", "not measured", "", "", ""])
    sys.stdout.write(
        heading("benchmarks.step", sys.argv[1:]) + f"measured on {machine.device} ({machine.name}) in {machine.dtype}\n"
        f"floor: at the rate of a product of two {SIDE}x{SIDE} matrices; medians of {args.rounds}, interleaved\n\n"
        + columns(table)
    )


if __name__ == "__main__":
    main()
