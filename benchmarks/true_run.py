"""Does a whole run of the true 14B shape fit a small machine? `python -m benchmarks.true_run` makes one, end to end.

Text encoder, two experts, VAE: all of the published shapes (the text encoder with the small vocabulary of the
miniature), all noise (`benchmarks.noise`), in 38.2 GB on the disk; both experts are the same file. The base's own
command makes five frames in two steps, one of each expert, with every block streamed from the disk. What counts is the
memory of the process that is not page cache, sampled while it runs.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.noise import DTYPE, write_noise
from benchmarks.table import columns, heading
from holocine_ext.presets import MODELS
from wan2.models.config import A14B
from wan2.plan.budget import GB, predict, work_of
from wan2.plan.files import Files
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.streaming.residency import weight_bytes
from wan2.text.tokenizer import TOKENIZER_FILE

ROOT = Path(__file__).parents[1]
KEYS = ROOT / "tests" / "data" / "checkpoint_keys.json"
TOKENIZER = MODELS["nano"]["full"].model.tokenizer
ALLOWED_BYTES, SPARE_DISK = 6e9, 4e9
STEPS, SIZE, FRAMES, SHIFT = 2, 64, 5, 5.0
SAMPLED_EVERY = 0.1
EMBEDDING = "token_embedding.weight"


def shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """File name -> tensor -> shape."""
    keys = json.loads(KEYS.read_text(encoding="utf-8"))
    vocabulary = len(json.loads((TOKENIZER / TOKENIZER_FILE).read_text(encoding="utf-8"))["model"]["vocab"])
    t5 = {name: tuple(shape) for name, shape in keys["models_t5_umt5-xxl-enc-bf16.pth"].items()}
    return {
        "expert.safetensors": A14B.tensor_shapes(),
        "t5.safetensors": {**t5, EMBEDDING: (vocabulary, t5[EMBEDDING][1])},
        "vae.safetensors": {name: tuple(shape) for name, shape in keys["Wan2.1_VAE.pth"].items()},
    }


def words(folder: Path) -> list[str]:
    """The command line of the run."""
    named = {"dit_high_noise": "expert", "dit_low_noise": "expert", "t5": "t5", "vae": "vae"}
    files = [word for flag, name in named.items() for word in (f"--{flag}", str(folder / f"{name}.safetensors"))]
    size = ["--video_size", str(SIZE), str(SIZE), "--video_length", str(FRAMES)]
    steps = ["--infer_steps", str(STEPS), "--flow_shift", str(SHIFT), "--sample_solver", "euler", "--seed", "1"]
    text = ["--tokenizer", str(TOKENIZER), "--prompt", "a red ball in a meadow", "--negative_prompt", "night"]
    machine = ["--device", "cpu", "--dtype", "bfloat16", "--blocks_to_swap", str(A14B.num_layers)]
    return [*files, *size, *steps, *text, *machine, "--save_path", str(folder / "run.mp4")]


def run(folder: Path) -> dict[str, float]:
    """Make the video; the peaks of the process in bytes, and its seconds."""
    started, peaks = time.perf_counter(), {"RssAnon": 0, "RssFile": 0}
    with subprocess.Popen([sys.executable, str(ROOT / "wan2_generate_video.py"), *words(folder)]) as process:
        while process.poll() is None:
            for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition(":")
                if name in peaks:
                    peaks[name] = max(peaks[name], int(value.split()[0]) * 1024)
            time.sleep(SAMPLED_EVERY)
    if process.returncode:
        raise SystemExit(process.returncode)
    return {**peaks, "seconds": time.perf_counter() - started}


def table(folder: Path, found: dict[str, float]) -> str:
    """Floor, measured and ratio, a line each; the seconds of the stages."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    floor = weight_bytes(A14B, DTYPE.itemsize).on_device(A14B.num_layers)
    given = {"height": SIZE, "width": SIZE, "num_frames": FRAMES, "device": "cpu", "dtype": "bfloat16", "prompt": "-"}
    files = {"dit_high_noise": folder / "expert.safetensors", "vae": folder / "vae.safetensors"}
    request = make_request(WAN22_T2V, {**given, **files, "blocks_to_swap": A14B.num_layers})
    opened = Files()
    work = work_of(request, opened, opened.transformer(request.model, request.model.expert("high")))
    predicted = predict(request, work).peak
    peak, verdict = found["RssAnon"], "within" if found["RssAnon"] <= ALLOWED_BYTES else "ABOVE"
    rows = [
        ["", "floor", "predicted", "measured", "measured / floor"],
        [
            "memory beyond page cache, GB",
            f"{floor / GB:.2f}",
            f"{predicted / GB:.2f}",
            f"{peak / GB:.2f}",
            f"{peak / floor:.2f}",
        ],
    ]
    seconds = ", ".join(f"{name.lower()} {value:.0f}" for name, value in record["seconds"].items())
    total = sum(math.prod(shape) for tensors in shapes().values() for shape in tensors.values()) * DTYPE.itemsize
    return (
        f"model      text encoder, expert and VAE of the true 14B shape, {total / GB:.1f} GB of noise in bfloat16\n"
        f"work       {FRAMES} frames of {SIZE}x{SIZE}, {STEPS} steps, one of each expert, {record['passes']} passes, "
        "every block streamed\n\n"
        + columns(rows)
        + f"\n{verdict} the mark of {ALLOWED_BYTES / GB:.0f} GB; libraries are in "
        "what was measured, not in floor and prediction\n"
        f"mapped from files at the most, GB  {found['RssFile'] / GB:.2f}\n"
        f"seconds    {found['seconds']:.0f} in all: {seconds}\n"
    )


def main() -> int:
    """Write the files, make the run, print the table, delete the files."""
    parser = argparse.ArgumentParser(prog="benchmarks.true_run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("out/true_run"), help="where 43 GB are free")
    parser.add_argument("--keep", action="store_true", help="leave the files for another run")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    missing = {name: tensors for name, tensors in shapes().items() if not (args.folder / name).exists()}
    needed = sum(math.prod(shape) for tensors in missing.values() for shape in tensors.values()) * DTYPE.itemsize
    if (free := shutil.disk_usage(args.folder).free) < needed + SPARE_DISK:
        needed_gb = (needed + SPARE_DISK) / GB
        sys.stderr.write(f"--folder {args.folder}: has {free / GB:.1f} GB free, {needed_gb:.1f} GB are needed\n")
        return 2
    try:
        for name, tensors in missing.items():
            write_noise(args.folder / name, tensors)
        found = run(args.folder)
        sys.stdout.write(heading("benchmarks.true_run", sys.argv[1:]) + table(args.folder, found))
    finally:
        if not args.keep:
            for name in shapes():
                (args.folder / name).unlink(missing_ok=True)
    return int(found["RssAnon"] > ALLOWED_BYTES)


if __name__ == "__main__":
    sys.exit(main())
