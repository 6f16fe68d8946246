"""Streams that fail under real runs: `python -m tests.stream_faults`.

stdout and stderr, each or both, are closed, full, without a reader, left by their reader after a line, or of a console
that is ASCII, cp1252 or UTF-16, for one video, a list of three, a list of which one cannot be made, a dry run and an
evaluation, with the miniature.

What must hold: the exit code is what it is with good streams, 0 exactly when everything was made; every file is there
and plays; stdout, as far as somebody reads it, names these files and no others; no traceback on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wan2.run.video_io import read_video

ROOT = Path(__file__).parents[1]
FAULTS = ("good", "closed", "full", "gone", "a line")
CODINGS = ("ascii", "cp1252", "utf-16")
STREAMS = [(out, err) for out in FAULTS for err in FAULTS if "good" in (out, err) or out == err]
MODEL = ["--model", "nano", "--infer_steps", "1", "--video_length", "5", "--video_size", "32", "32", "--device", "cpu"]
BOARD = {"global_caption": "A meadow.", "shots": [{"caption": "Wide"}]}
NAMES = "夜é"
"""In every name: one letter that cp1252 has and one that it lacks."""


@dataclass(frozen=True)
class Kind:
    """One command: its words in a folder, the exit code and the files that it owes."""

    words: Callable[[Path], list[str]]
    code: int
    files: Sequence[str]


def _video(stem: str) -> list[str]:
    return [f"{stem}.mp4", f"{stem}.safetensors", f"{stem}.json", f"{stem}_sheet.png"]


def _generate(*words: str) -> Callable[[Path], list[str]]:
    return lambda folder: ["holocine_generate_video.py", *MODEL, *(word.format(folder=folder) for word in words)]


OUTPUT = ("--save_path", f"{{folder}}/{NAMES}.mp4")
KINDS: Mapping[str, Kind] = {
    "video": Kind(_generate("--storyboard", "{folder}/scene0.json", *OUTPUT), 0, _video(NAMES)),
    "list": Kind(
        _generate("--from_file", "{folder}/good.txt", *OUTPUT), 0, [f for n in "123" for f in _video(f"{NAMES}-00{n}")]
    ),
    "broken list": Kind(
        _generate("--from_file", "{folder}/bad.txt", *OUTPUT), 1, [f for n in "13" for f in _video(f"{NAMES}-00{n}")]
    ),
    "dry run": Kind(_generate("--storyboard", "{folder}/scene0.json", "--dry_run", *OUTPUT), 0, []),
    "evaluation": Kind(
        lambda folder: [
            *("holocine_evaluate.py", str(folder / "given.mp4"), "--detector", "nano", "--device", "cpu"),
            *("--no_ceiling", "--storyboard", str(folder / "scene0.json"), "--save_path", str(folder / NAMES)),
        ],
        0,
        [f"{NAMES}/report.html", f"{NAMES}/report.json"],
    ),
}


@dataclass(frozen=True)
class Fault:
    """What becomes of both streams, and the encoding of the console."""

    out: str = "good"
    err: str = "good"
    coding: str = "utf-8"

    def __str__(self) -> str:
        return self.coding if self.coding != "utf-8" else f"{self.out} / {self.err}"


def all_faults() -> list[Fault]:
    """Every pair of streams of which one is good or both are alike, and every encoding."""
    return [*(Fault(*pair) for pair in STREAMS), *(Fault(coding=coding) for coding in CODINGS)]


def prepare(folder: Path, given: Path) -> None:
    """What the commands read."""
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / f"scene{number}.json").write_text(json.dumps({**BOARD, "seed": number}))
    (folder / "good.txt").write_text("".join(f"scene{number}.json\n" for number in range(3)))
    (folder / "bad.txt").write_text("scene0.json\nabsent.json\nscene2.json\n")
    shutil.copy(given, folder / "given.mp4")


def run(kind: Kind, fault: Fault, folder: Path) -> None:
    """Run one command under one fault. Raises `AssertionError` for what does not hold."""
    before = {path for path in folder.rglob("*") if path.is_file()}
    code, out, err = _started(kind.words(folder), fault)
    made = {path for path in folder.rglob("*") if path.is_file()} - before
    owed = {folder / name for name in kind.files}
    said = f"\n{out.decode(errors='replace')[-2000:]}\n{err.decode(errors='replace')[-2000:]}"
    assert code == kind.code, f"exit code {code}, not {kind.code}{said}"
    assert made == owed, f"made {sorted(map(str, made))}{said}"
    for path in made:
        assert path.suffix != ".mp4" or len(read_video(path)) == 5, f"{path} does not play"
    for trace in (b"Traceback", b"Exception ignored"):
        assert trace not in err.replace(b"\0", b""), f"a traceback{said}"
    if fault.out == "good":
        _check_named(out, fault.coding, [folder / name for name in kind.files], said)


def _check_named(out: bytes, coding: str, owed: Sequence[Path], said: str) -> None:
    """stdout ends with the names of the files and holds no other names, in its encoding or as the files are called."""
    wide = coding == "utf-16"
    lines = [line.encode() for line in out.decode(coding).splitlines()] if wide else out.splitlines()
    names = [line for line in lines if line.startswith(b"/")]
    assert names == [os.fsencode(path) for path in owed], f"names {names}{said}"


def _started(words: Sequence[str], fault: Fault) -> tuple[int, bytes, bytes]:
    """A real process with streams like these: its exit code, and what was read of both."""
    closed = "".join(f" {number}>&-" for number, how in ((1, fault.out), (2, fault.err)) if how == "closed")
    command = ["sh", "-c", f'exec "$@"{closed}', "sh", sys.executable, str(ROOT / words[0]), *words[1:]]
    environment = {**os.environ, "PYTHONIOENCODING": fault.coding, "PYTHONUTF8": "0"}
    with ExitStack() as stack:
        full = stack.enter_context(Path("/dev/full").open("wb"))
        out, err = (full if how == "full" else subprocess.PIPE for how in (fault.out, fault.err))
        process = stack.enter_context(subprocess.Popen(command, stdout=out, stderr=err, cwd=ROOT, env=environment))
        with ThreadPoolExecutor(2) as readers:
            read = [
                readers.submit(_read, stream, how)
                for stream, how in ((process.stdout, fault.out), (process.stderr, fault.err))
            ]
            return process.wait(), *(future.result() for future in read)


def _read(stream: IO[bytes] | None, how: str) -> bytes:
    """What a reader reads before it goes."""
    if stream is None:
        return b""
    with stream:
        return {"gone": lambda: b"", "a line": stream.readline}.get(how, stream.read)()


def prepared(folder: Path) -> Path:
    """A video for the evaluations."""
    folder.mkdir()
    (folder / "scene.json").write_text(json.dumps(BOARD))
    words = [*MODEL, "--storyboard", str(folder / "scene.json"), "--save_path", str(folder / "given.mp4")]
    subprocess.run([sys.executable, str(ROOT / "holocine_generate_video.py"), *words], capture_output=True, check=True)
    return folder / "given.mp4"


def wrong(fault: Fault, kinds: Sequence[str], given: Path, folder: Path) -> dict[str, str]:
    """Run these kinds under one fault; of each that did not hold, what was wrong."""
    found = {}
    for name in kinds:
        place = folder / name.replace(" ", "-")
        prepare(place, given)
        try:
            run(KINDS[name], fault, place)
        except AssertionError as error:
            found[name] = str(error)
        shutil.rmtree(place)
    return found


def main() -> int:
    """Run the campaign and show a table, row by row; the exit code says whether all held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--faults", nargs="+", choices=[str(fault) for fault in all_faults()])
    args = parser.parse_args()
    faults = [fault for fault in all_faults() if not args.faults or str(fault) in args.faults]
    sys.stdout.write(f"{'stdout / stderr':<17}" + "".join(f"{name:>12}" for name in args.kinds) + "\n")
    told: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        given = prepared(Path(folder) / "start")
        for fault in faults:
            found = wrong(fault, args.kinds, given, Path(folder))
            cells = ("WRONG" if name in found else KINDS[name].code for name in args.kinds)
            sys.stdout.write(f"{str(fault):<17}" + "".join(f"{cell:>12}" for cell in cells) + "\n")
            sys.stdout.flush()
            told += [f"{name}, {fault}: {what}" for name, what in found.items()]
    count = len(faults) * len(args.kinds)
    sys.stdout.write("\n".join([f"{count - len(told)} of {count} held", *told]) + "\n")
    return 1 if told else 0


if __name__ == "__main__":
    raise SystemExit(main())
