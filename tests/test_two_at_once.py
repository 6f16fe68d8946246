"""A few of the runs that meet under one name; `python -m tests.two_at_once` plays as many as are wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_runs_that_meet_under_one_name():
    kinds = ["--kind", "one name", "--kind", "a state"]
    line = [sys.executable, "-m", "tests.two_at_once", "--rounds", "2", "--seed", "3", "--untimed", *kinds]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("2 of 2 rounds as they should be"), done.stdout + done.stderr
    assert done.returncode == 0
