"""Does the true 14B shape run in a few GB of memory? `python -m benchmarks.true_shape` makes a checkpoint and sees.

The checkpoint has the published names, shapes and dtype, all 28.6 GB of them on the disk; its weights are noise
(`benchmarks.noise`). Two processes then predict one velocity, prompt and negative prompt together:
one streams every block from the disk, one loads block after block as if it were to stay. Both must give the same bits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import psutil
import torch

from benchmarks.noise import write_noise
from wan2.models.conditioning import Conditioning
from wan2.models.config import A14B
from wan2.models.layers import Block
from wan2.models.transformer import WanTransformer
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.run.machine import resolve_machine
from wan2.run.record import host_peak_bytes
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.streaming.residency import RING_BLOCKS
from wan2.streaming.ring import StreamedTransformer
from wan2.weights.checkpoint import inspect_transformer, load_weights
from wan2.weights.sources import TransformerFile

ALLOWED_BYTES = 6e9
SPARE_DISK = 4e9
CPU, DTYPE = torch.device("cpu"), torch.bfloat16
Result = dict[str, float | str]


class BlockByBlock(WanTransformer):
    """A transformer that loads each block as a resident one is loaded, and forgets it before the next."""

    def __init__(self, file: TransformerFile) -> None:
        super().__init__(file.config)
        self.file = file

    def take_blocks(self) -> Generator[Block]:
        """The blocks in order."""
        for index, block in enumerate(super().take_blocks()):
            load_weights(self, self.file, names_in(self.file, index), CPU, DTYPE)
            yield block
            block.to("meta")


def names_in(file: TransformerFile, index: int) -> list[str]:
    """The tensors of one block."""
    return [name for name in file.sources if name.startswith(f"blocks.{index}.")]


def measure(role: str, path: Path, size: tuple[int, int, int], text: int) -> Result:
    """Predict one velocity in this process: its digest, time, peak memory, and bytes read for blocks.

    role: "streamed", or anything else for block after block as if it were to stay.
    """
    before = psutil.Process().memory_info().rss  # the peak so far may be that of the process which started this one
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(1, A14B.in_dim, *size, generator=generator)
    contexts = torch.randn(2, 1, text, A14B.text_dim, generator=generator) * 0.1
    passes = [Conditioning(context.to(DTYPE)) for context in contexts]
    read = 0
    with torch.inference_mode():
        start = time.perf_counter()
        if role == "streamed":
            with transformers(
                [Phase("high", inspect_transformer(path), 1)],
                Placement(CPU, DTYPE, streamed=A14B.num_layers),
            ) as load:
                streamed = load("high")
                assert isinstance(streamed, StreamedTransformer)
                velocities = streamed.passes(latents, torch.tensor(900.0), passes)
                read = streamed.file.bytes_read
        else:
            file = inspect_transformer(path)
            with torch.device("meta"):
                model = BlockByBlock(file).requires_grad_(False)
            load_weights(model, file, [name for name in file.sources if not name.startswith("blocks.")], CPU, DTYPE)
            velocities = model.run_together(latents, torch.tensor(900.0), passes)
        seconds = time.perf_counter() - start
    joined = torch.cat(velocities)
    if not torch.isfinite(joined).all() or torch.equal(*velocities):
        raise RuntimeError("the velocities say nothing: not finite, or the same for both prompts")
    digest = hashlib.sha256(joined.numpy().tobytes()).hexdigest()
    peak = host_peak_bytes() or 0
    return {"digest": digest, "seconds": seconds, "peak": peak, "libraries": before, "read": read}


def in_a_process(role: str, args: argparse.Namespace, path: Path) -> Result:
    """`measure` in a process of its own, so that its peak is its own."""
    words = [sys.executable, "-m", "benchmarks.true_shape", "--role", role, "--checkpoint", str(path)]
    words += ["--text", str(args.text), "--latents", *map(str, args.latents)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def table(streamed: Result, resident: Result, args: argparse.Namespace) -> str:
    """Floor, measured and ratio, a line each."""
    block = sum(map(math.prod, A14B.block_shapes().values())) * DTYPE.itemsize
    weights = sum(map(math.prod, A14B.tensor_shapes().values())) * DTYPE.itemsize
    held = weights - (A14B.num_layers - RING_BLOCKS) * block
    peak, libraries, read = (float(streamed[name]) for name in ("peak", "libraries", "read"))
    machine = resolve_machine(make_request(WAN22_T2V, {"prompt": "-", "device": "cpu"}))
    same = streamed["digest"] == resident["digest"]
    verdict = "within" if peak <= ALLOWED_BYTES else "ABOVE"
    lines = [
        f"machine    {machine.name}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{platform.system()} {platform.release()}",
        f"model      14B shape, bfloat16, weights of noise: {weights / 1e9:.1f} GB, {block / 1e6:.0f} MB a block",
        f"work       latents {'x'.join(map(str, args.latents))}, {args.text} text positions, two passes together",
        "",
        "                                   floor  measured  ratio",
        f"peak resident memory, GB      {held / 1e9:10.2f} {peak / 1e9:9.2f} {peak / held:6.2f}"
        f"  {verdict} the mark of {ALLOWED_BYTES / 1e9:.0f} GB; {libraries / 1e9:.2f} GB of it are libraries",
        f"read for blocks, GB           {40 * block / 1e9:10.2f} {read / 1e9:9.2f} {read / (40 * block):6.2f}",
        f"seconds, streamed                      - {float(streamed['seconds']):9.1f}",
        f"seconds, block by block                - {float(resident['seconds']):9.1f}",
        f"results    {'equal bit for bit' if same else 'DIFFERENT'} ({str(streamed['digest'])[:16]})",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the checkpoint, run both processes, print the table, delete the checkpoint."""
    parser = argparse.ArgumentParser(prog="benchmarks.true_shape", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("out/true_shape"), help="where 28.6 GB are free")
    parser.add_argument("--latents", type=int, nargs=3, default=[2, 8, 8], metavar=("F", "H", "W"))
    parser.add_argument("--text", type=int, default=512, help="text positions")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoint for another run")
    parser.add_argument("--role", choices=("streamed", "resident"), help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        sys.stdout.write(json.dumps(measure(args.role, args.checkpoint, tuple(args.latents), args.text)) + "\n")
        return 0
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / "noise_14B.safetensors"
    needed = sum(map(math.prod, A14B.tensor_shapes().values())) * DTYPE.itemsize + SPARE_DISK
    if not path.exists() and (free := shutil.disk_usage(args.folder).free) < needed:
        sys.stderr.write(f"--folder {args.folder}: has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed\n")
        return 2
    try:
        if not path.exists():
            write_noise(path, A14B.tensor_shapes())
        streamed, resident = (in_a_process(role, args, path) for role in ("streamed", "resident"))
    finally:
        if not args.keep:
            path.unlink(missing_ok=True)
    sys.stdout.write(table(streamed, resident, args))
    return int(streamed["digest"] != resident["digest"] or float(streamed["peak"]) > ALLOWED_BYTES)


if __name__ == "__main__":
    sys.exit(main())
