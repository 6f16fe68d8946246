"""Kills the page's server and its workers at random moments while a queue runs: `python -m tests.studio_kills`.

In the end every job must have its film, with the frames that a quiet queue makes of the same board and seed.
Prints a line a kill and one at the end; exits 1 when anything was lost or differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import av

from tests.holocine_ext.studio.served import Served, served, until

FILMS, STEPS, PATIENCE = 6, 6, 600.0
SHORTEST, LONGEST = 2.0, 14.0
KILLED_SERVER = 0.3


def main() -> int:
    """Run the kills; the exit code."""
    parser = argparse.ArgumentParser(description="Kill the page's processes at random moments.")
    parser.add_argument("--kills", type=int, default=30, help="how many (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        quiet, kills = Path(folder) / "quiet", Path(folder) / "killed"
        expected = made(quiet, [], random.Random(args.seed))
        pauses = [random.Random(args.seed).uniform(SHORTEST, LONGEST) for _ in range(args.kills)]
        found = made(kills, pauses, random.Random(args.seed))
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    sys.stdout.write(f"{args.kills} kills, {len(found)} films of {FILMS}, {len(wrong)} lost or different: {wrong}\n")
    return 1 if wrong or len(found) != FILMS else 0


def made(folder: Path, pauses: list[float], chance: random.Random) -> dict[str, bytes]:
    """The frames of every film of a queue, whose processes are killed after each of these pauses in seconds."""
    with ExitStack() as stack:
        server = stack.enter_context(served(folder))
        names = server.render(FILMS, infer_steps=STEPS, save_every=1)
        for number, pause in enumerate(pauses, 1):
            time.sleep(pause)
            server, what = kill(server, stack, chance)
            sys.stderr.write(f"{number}: killed {what}; {len(films(folder))} films\n")
        until(lambda: len(films(folder)) >= len(names), PATIENCE)
        time.sleep(LONGEST if pauses else 0)  # whoever would make one twice begins now
    return {path.name: frames(path) for path in films(folder)}


def kill(server: Served, stack: ExitStack, chance: random.Random) -> tuple[Served, str]:
    """Kill the server or the workers, whichever it hits; the server that is there then."""
    if chance.random() < KILLED_SERVER:
        server.process.kill()
        return stack.enter_context(served(server.folder)), "the server"
    workers = server.workers()
    for worker in workers:
        worker.kill()
    return server, f"{len(workers)} worker{'s' * (len(workers) != 1)}"


def films(folder: Path) -> list[Path]:
    return sorted((folder / "takes").glob("*.mp4"))


def frames(path: Path) -> bytes:
    with av.open(str(path)) as film:
        return b"".join(frame.to_ndarray(format="rgb24").tobytes() for frame in film.decode(video=0))


if __name__ == "__main__":
    raise SystemExit(main())
