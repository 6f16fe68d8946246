"""Does GGUF of the true 14B shape run in a few GB of memory? `python -m benchmarks.gguf_true` makes a file and sees.

The file is laid out as Q4_K_M is published: linears in Q4_K, in every other block some of them in Q6_K; its blocks are
noise. Two processes then predict one velocity, prompt and negative prompt together: one streams every block as it is in
the file, one loads block after block with all values in bfloat16. Both must give the same bits.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter

from benchmarks.table import heading
from benchmarks.true_shape import ALLOWED_BYTES, DTYPE, Result, measure
from wan2.models.config import A14B
from wan2.models.forms import BLOCKS
from wan2.streaming.residency import weight_bytes
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.fp8 import linears
from wan2.weights.held import held_weights

FINER = ("self_attn.v.weight", "cross_attn.v.weight", "ffn.2.weight")
# Blocks of noise from which all tensors are cut, and the half-precision numbers in one: where, and about how large.
POOL = 100_003
# Few tokens: processors multiply slowly in bfloat16.
LATENTS, TEXT = (1, 4, 4), 8
SCALES = {"Q4_K": {0: 5e-5, 2: 3.7e-4}, "Q6_K": {208: 1e-5}}


def kind_of(name: str, shape: tuple[int, ...]) -> str:
    """The type in which a tensor is written."""
    _, _, inner = name.split(".", 2) if name.startswith("blocks.") else ("", "", "")
    if inner not in linears(A14B):
        return "F16" if len(shape) > 1 and "modulation" not in name else "F32"
    return "Q6_K" if inner in FINER and int(name.split(".")[1]) % 2 else "Q4_K"


def pool(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Random blocks of a type, uint8 [POOL, bytes], with scales that make values as large as trained ones."""
    blocks = rng.integers(0, 256, (POOL, BLOCKS[kind].nbytes), dtype=np.uint8)
    for at, size in SCALES[kind].items():
        blocks[:, at : at + 2] = (size * rng.uniform(0.5, 1.5, (POOL, 1))).astype(np.float16).view(np.uint8)
    return blocks


def write(path: Path) -> None:
    """The file, a tensor at a time."""
    rng = np.random.default_rng(0)
    pools = {kind: pool(kind, rng) for kind in SCALES}
    shapes = A14B.tensor_shapes()
    kinds = {name: kind_of(name, shape) for name, shape in shapes.items()}
    writer = GGUFWriter(path, "wan")
    for name, shape in shapes.items():
        block = BLOCKS.get(kinds[name])
        size = math.prod(shape) * np.dtype("f4" if kinds[name] == "F32" else "f2").itemsize
        nbytes = math.prod(shape) // block.values * block.nbytes if block else size
        writer.add_tensor_info(name, shape, np.dtype("f4"), nbytes, raw_dtype=Type[kinds[name]])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in shapes.items():
        kind = kinds[name]
        if kind in pools:
            count = math.prod(shape) // BLOCKS[kind].values
            first = int(rng.integers(POOL))
            writer.write_tensor_data(np.take(pools[kind], np.arange(first, first + count), 0, mode="wrap"))
        else:
            values = rng.standard_normal(shape, dtype=np.float32) * 0.02 + float(".norm" in name)
            writer.write_tensor_data(values.astype("f4" if kind == "F32" else "f2"))
    writer.close()


def in_a_process(role: str, path: Path) -> Result:
    """`measure` in a process of its own, so that its peak is its own."""
    words = [sys.executable, "-m", "benchmarks.gguf_true", "--role", role, "--checkpoint", str(path)]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def table(path: Path, streamed: Result, values: Result) -> str:
    """Forecast, measured and ratio, a line each."""
    file = inspect_transformer(path)
    weights = weight_bytes(A14B, DTYPE.itemsize, held_weights(file, quantise=False))
    # The feed-forward and two linears of the cross-attention are multiplied out at once; the text's keys and values of
    # every block are kept.
    out = 2 * A14B.dim * (A14B.dim + A14B.ffn_dim) * DTYPE.itemsize
    kept = 2 * TEXT * A14B.dim * DTYPE.itemsize * (1 + 2 * A14B.num_layers)
    forecast = weights.on_device(A14B.num_layers) + out + kept
    peak, libraries, read = (float(streamed[name]) for name in ("peak", "libraries", "read"))
    verdict = "within" if peak <= ALLOWED_BYTES else "ABOVE"
    same = streamed["digest"] == values["digest"]
    lines = [
        f"file       14B shape, Q4_K and Q6_K as in Q4_K_M, of noise: {path.stat().st_size / 1e9:.2f} GB",
        f"work       latents {'x'.join(map(str, LATENTS))}, {TEXT} text positions, two passes together, bfloat16, "
        "every block streamed",
        "",
        "                                forecast  measured  ratio",
        f"transformer resident, GB      {weights.on_device(0) / 1e9:10.2f}",
        f"peak, all streamed, GB        {forecast / 1e9:10.2f} {(peak - libraries) / 1e9:9.2f} "
        f"{(peak - libraries) / forecast:6.2f}  and {libraries / 1e9:.2f} GB of libraries: {peak / 1e9:.2f} GB, "
        f"{verdict} the mark of {ALLOWED_BYTES / 1e9:.0f} GB",
        f"read for blocks, GB           {sum(weights.blocks) / 1e9:10.2f} {read / 1e9:9.2f} "
        f"{read / sum(weights.blocks):6.2f}",
        f"seconds, streamed                      - {float(streamed['seconds']):9.1f}",
        f"seconds, values block by block         - {float(values['seconds']):9.1f}",
        f"results    {'equal bit for bit' if same else 'DIFFERENT'} ({str(streamed['digest'])[:16]})",
    ]
    return heading("benchmarks.gguf_true") + "\n".join(lines) + "\n"


def main() -> int:
    """Write the file, run both processes, print the table, delete the file."""
    parser = argparse.ArgumentParser(prog="benchmarks.gguf_true", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("out/gguf_true"), help="where 10 GB are free")
    parser.add_argument("--role", choices=("streamed", "values"), help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        sys.stdout.write(json.dumps(measure(args.role, args.checkpoint, LATENTS, TEXT)) + "\n")
        return 0
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / "noise_14B_Q4_K_M.gguf"
    try:
        write(path)
        streamed, values = (in_a_process(role, path) for role in ("streamed", "values"))
        sys.stdout.write(table(path, streamed, values))
    finally:
        path.unlink(missing_ok=True)
    return int(streamed["digest"] != values["digest"] or float(streamed["peak"]) > ALLOWED_BYTES)


if __name__ == "__main__":
    sys.exit(main())
