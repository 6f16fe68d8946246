"""A few cases of each kind of damaged input; `python -m tests.fuzz` runs as many as are wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fuzz import draw
from tests.fuzzed import WEIGHTS

ROOT = Path(__file__).parents[1]
RUNS = 400


def test_damaged_input_is_accepted_or_refused_within_bounds():
    line = [sys.executable, "-m", "tests.fuzz", "--runs", str(RUNS), "--seed", "11"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"{RUNS} cases from 0 of seed 11, 0 findings" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert {draw(11, number)[1] for number in range(RUNS)} == set(WEIGHTS)
