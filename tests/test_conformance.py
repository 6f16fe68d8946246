"""The reference figures, all of them, through the same command that checks a folder from elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conformance import SECTIONS, Check, check_folder, main

DATA = Path(__file__).parent / "data"
CASES = {
    "frames.json": 519,
    "schedule.json": 36,
    "text_windows.json": 30,
    "dit_cases.json": 15,
    "denoise.json": 4,
    "t5_cases.json": 3,
    "negative_prompt.txt": 1,
    "vae_cases.safetensors": 4,
}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_case_is_run_and_within_tolerance(name: str) -> None:
    checks = list(SECTIONS[name](DATA))
    assert len(checks) == CASES[name]
    assert [check for check in checks if not check.passed] == []


def test_nothing_passes_by_being_absent_or_not_a_number(tmp_path: Path) -> None:
    assert main(tmp_path) == 2
    assert not Check("a NaN", float("nan"), 1.0).passed
    shutil.copy(DATA / "schedule.json", tmp_path)
    changed = (tmp_path / "schedule.json").read_text().replace("0.9375", "0.9376", 1)
    (tmp_path / "schedule.json").write_text(changed)
    assert sum(not check.passed for check in check_folder(tmp_path)) == 1
