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
    "wan22/schedule.json": 96,
    "wan22/runs.json": 4,
}


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_run_and_within_tolerance(name: str) -> None:
    path = DATA / name
    checks = list(SECTIONS[path.name](path.parent))
    assert len(checks) == CASES[name]
    assert [check for check in checks if not check.passed] == []


def test_every_kind_of_file_has_cases() -> None:
    assert {Path(name).name for name in CASES} == set(SECTIONS)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("schedule.json", "0.9372654557228088", "0.9372658"),
        ("schedule.json", "[1000, 937, 833, 625]", "[1000, 937.5, 833, 625]"),
        ("runs.json", '"steps": 5', '"steps": 6'),
        ("runs.json", '"solver": "dpm++"', '"solver": "unipc"'),
    ],
)
def test_a_figure_of_wan22_that_is_off_is_seen(tmp_path: Path, name: str, right: str, wrong: str) -> None:
    shutil.copytree(DATA / "wan22", tmp_path / "wan22")
    path = tmp_path / "wan22" / name
    assert right in (text := path.read_text())
    path.write_text(text.replace(right, wrong, 1))
    assert sum(not check.passed for check in SECTIONS[name](path.parent)) == 1


def test_nothing_passes_by_being_absent_or_not_a_number(tmp_path: Path) -> None:
    assert main(tmp_path) == 2
    assert not Check("a NaN", float("nan"), 1.0).passed
    shutil.copy(DATA / "schedule.json", tmp_path)
    changed = (tmp_path / "schedule.json").read_text().replace("0.9375", "0.9376", 1)
    (tmp_path / "schedule.json").write_text(changed)
    assert sum(not check.passed for check in check_folder(tmp_path)) == 1
