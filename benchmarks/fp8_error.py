"""What fp8 costs in accuracy: `python -m benchmarks.fp8_error CHECKPOINT [--fast]` compares it with bfloat16.

For every block and every kind of linear the relative error of the weights, and for whole forwards on random latents and
a random text the relative error of the velocity (the norm of the difference over the norm) and its cosine. Blocks are
streamed, so a checkpoint of any size will do. `--noise N` makes one of N blocks of the published shape first, its
weights normal numbers; those say what rounding does, not what it does to a trained model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.noise import write_noise
from benchmarks.table import heading
from wan2.errors import InputError
from wan2.models.conditioning import Conditioning
from wan2.models.config import A14B
from wan2.models.fp8 import check_fast, multiply_out
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.run.machine import resolve_machine
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.fp8 import AS_STORED, LowBit, fp8_weights, linears
from wan2.weights.reader import TensorReader
from wan2.weights.sources import TransformerFile

BF16, FP32 = torch.bfloat16, torch.float32
# Numbers that bfloat16 has: timesteps are rounded to the compute dtype.
TIMESTEPS = (1000.0, 500.0, 100.0)
TEXT_SIZE = 0.1
KINDS = {
    "self_attn": "self",
    "cross_attn": "cross",
    "ffn.0.weight": "ffn in",
    "ffn.2.weight": "ffn out",
}


def weight_errors(file: TransformerFile, quantised: frozenset[str]) -> dict[str, float]:
    """Native name -> relative error of every weight that `--fp8_scaled` quantises."""
    reader = TensorReader(file.header, torch.device("cpu"))
    errors = {}
    for name in sorted(quantised):
        exact = reader.read(file.sources[name], FP32)
        errors[name] = relative(multiply_out(*reader.read_fp8(file.sources[name]), FP32), exact)
    return errors


def relative(found: Tensor, exact: Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((found.double() - exact.double()).norm() / exact.double().norm())


def cosine(found: Tensor, exact: Tensor) -> float:
    """Cosine of the angle between two tensors."""
    a, b = found.double().flatten(), exact.double().flatten()
    return float(a @ b / (a.norm() * b.norm()))


def velocities(
    path: Path, size: tuple[int, int, int], text: int, device: torch.device, dtype: torch.dtype, fp8: LowBit
) -> list[Tensor]:
    """The velocity at each of the timesteps, from the same latents and text, blocks streamed one by one."""
    config = inspect_transformer(path).config
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(1, config.in_dim, *size, generator=generator).to(device)
    context = torch.randn(1, text, config.text_dim, generator=generator) * TEXT_SIZE
    turn = Phase("one", inspect_transformer(path), len(TIMESTEPS))
    with torch.inference_mode(), transformers([turn], Placement(device, dtype, fp8, config.num_layers, "disk")) as load:
        model, given = load("one"), Conditioning(context.to(device, dtype))
        return [model(latents, torch.tensor(t, device=device), given).float().cpu() for t in TIMESTEPS]


def label(name: str) -> str:
    """The heading of a kind of linear."""
    kind = next(short for part, short in KINDS.items() if part in name)
    return kind if kind.startswith("ffn") else f"{kind} {name.split('.')[1]}"


def weight_table(file: TransformerFile, errors: dict[str, float]) -> list[str]:
    """A row a block, a column a kind of linear, in percent."""
    kinds = linears(file.config)
    lines = ["weights: relative error in percent", "block  " + "".join(f"{label(kind):>9}" for kind in kinds)]
    for index in range(file.config.num_layers):
        names = [f"blocks.{index}.{kind}" for kind in kinds]
        cells = [f"{100 * errors[name]:9.2f}" if name in errors else f"{'-':>9}" for name in names]
        lines.append(f"{index:5}  {''.join(cells)}")
    return [*lines, f"worst: {100 * max(errors.values()):.2f}, of a single value at most {100 / 16:.2f}"]


def forward_table(run: Callable[[torch.dtype, LowBit], list[Tensor]], fast: bool) -> list[str]:
    """A row a way of computing, against bfloat16; a column a timestep."""
    exact = run(BF16, AS_STORED)
    rows = {"float32": (FP32, AS_STORED), "--fp8_scaled": (BF16, LowBit(quantise=True))}
    if fast:
        rows["--fp8_fast"] = (BF16, LowBit(quantise=True, fast=frozenset({"fp8"})))
    lines = [
        "velocity of one forward against bfloat16: relative error in percent, and cosine",
        "at timestep   " + "".join(f"{timestep:>18.0f}" for timestep in TIMESTEPS),
    ]
    for name, (dtype, fp8) in rows.items():
        pairs = list(zip(run(dtype, fp8), exact, strict=True))
        cells = [f"{100 * relative(*pair):9.3f} {cosine(*pair):8.6f}" for pair in pairs]
        lines.append(f"{name:14}" + "".join(f"{cell:>18}" for cell in cells))
    return lines


def report(args: argparse.Namespace, path: Path) -> list[str]:
    """The whole text."""
    machine = resolve_machine(make_request(WAN22_T2V, {"prompt": "-", "device": args.device}).compute)
    if args.fast:
        check_fast(machine.device)
    file = inspect_transformer(path)
    config = file.config
    quantised = fp8_weights(file, quantise=True) - fp8_weights(file, quantise=False)
    if not quantised:
        raise InputError(f"{path}: has no linears to quantise: fp8 already, or too few blocks")
    size = (args.latents[0], args.latents[1], args.latents[2])
    share = len(quantised) / (config.num_layers * len(linears(config)))
    return [
        heading("benchmarks.fp8_error", sys.argv[1:]).rstrip(),
        f"model      {path.name}: {config.num_layers} blocks, width {config.dim}, feed-forward {config.ffn_dim}; "
        f"{100 * share:.0f} % of the linears of its blocks go to fp8",
        f"work       latents {'x'.join(map(str, size))}, {args.text} text positions, random",
        "",
        *weight_table(file, weight_errors(file, quantised)),
        "",
        *forward_table(lambda dtype, fp8: velocities(path, size, args.text, machine.device, dtype, fp8), args.fast),
    ]


def main() -> int:
    """Compare and print; a checkpoint of noise goes again."""
    parser = argparse.ArgumentParser(prog="benchmarks.fp8_error", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a transformer, in any format that is read")
    parser.add_argument("--noise", type=int, metavar="N", help="instead: N blocks of the published shape, of noise")
    parser.add_argument("--fast", action="store_true", help="measure --fp8_fast, too")
    parser.add_argument("--latents", type=int, nargs=3, default=[3, 8, 8], metavar=("F", "H", "W"))
    parser.add_argument("--text", type=int, default=512, help="text positions")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, default=Path("out/fp8_error"), help="for the checkpoint of noise")
    args = parser.parse_args()
    if (args.checkpoint is None) == (args.noise is None):
        parser.error("give a checkpoint or --noise")
    path = args.checkpoint or args.folder / f"noise_{args.noise}_blocks.safetensors"
    try:
        if args.noise:
            args.folder.mkdir(parents=True, exist_ok=True)
            write_noise(path, replace(A14B, num_layers=args.noise).tensor_shapes())
        lines = report(args, path)
    except InputError as error:
        sys.stderr.write(f"benchmarks.fp8_error: {error}\n")
        return 2
    finally:
        if args.noise:
            path.unlink(missing_ok=True)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
