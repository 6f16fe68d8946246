"""The check of a machine: everything is looked at and judged, what is wrong is said, and its rate is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

import holocine_ext.cli
from holocine_ext.check import runs, speed
from holocine_ext.check.findings import Checked, Finding
from tests.wan2.fp8_files import SIX
from wan2.plan.rates import MACHINE
from wan2.request.compute import Compute


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A block of six heads in the place of the true width; the cache folder."""
    monkeypatch.setattr(speed, "BLOCK", replace(SIX, num_layers=1))
    tiny = speed.SMALL._replace(side=64, tokens_per_frame=16, nbytes=2**22)
    monkeypatch.setattr(speed, "SMALL", tiny)
    monkeypatch.setenv("WAN2_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def check(*words: str) -> int:
    return holocine_ext.cli.main(["--check_machine", "--device", "cpu", *words])


def test_a_processor_is_right_and_its_rate_is_kept(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check() == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == str(small / MACHINE)
    assert max(map(len, shown[:-1])) <= 80
    text = "\n".join(shown)
    for name in ("attention kernels", "a block of the true width", "copies", "runs of the miniature", "sdpa, float32"):
        assert f"{name}" in text
    assert text.count(" right") >= 5 and "WRONG" not in text and "everything that was judged is right" in text
    found = json.loads((small / MACHINE).read_text())
    assert found["right"] is True and found["tflops"] > 0
    names = {finding["name"] for finding in found["findings"] if finding["right"]}
    assert {"every block streamed from disk", "stopped after two steps, and resumed", "rounding to fp8"} <= names
    assert "fp32, and the figures kept with the program" in names
    scene = ["--model", "nano", "--global_caption", "A ball.", "--shot_captions", "a", "b", "--dry_run"]
    assert holocine_ext.cli.main(scene) == 0
    shown_plan = capsys.readouterr().out
    assert "denoising, predicted: " in shown_plan and "measured by --check_machine on cpu" in shown_plan
    assert holocine_ext.cli.main([*scene, "--card", "RTX 4090"]) == 0
    assert "RTX 4090: 0.85 of its" in capsys.readouterr().out


def test_what_is_wrong_is_said(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    latents = runs.Runs._latents

    def other(self: runs.Runs, compute: Compute) -> Tensor:
        return latents(self, compute) + (1e-3 if compute.blocks_to_swap else 0)

    monkeypatch.setattr(runs.Runs, "_latents", other)
    assert check() == 1
    shown = capsys.readouterr()
    assert "WRONG: every block streamed from disk" in shown.out
    assert "latents off by" in shown.out
    assert shown.err.splitlines()[-1].endswith("--check_machine: something is wrong here; the table says what")
    assert json.loads((small / MACHINE).read_text())["right"] is False


def test_it_takes_nothing_but_a_device(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--prompt", "a ball") == 2
    assert "--check_machine: looks at the machine and takes only --device, not --prompt" in capsys.readouterr().err
    assert holocine_ext.cli.main(["--check_machine", "--device", "cuda:7"]) == 2
    assert not small.exists()


def test_a_broken_record_of_a_check_is_as_none(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.mkdir()
    for text in ("", "[]", "{}", '{"tflops": "fast"}', '{"tflops": 1}'):
        (small / MACHINE).write_text(text)
        scene = ["--model", "nano", "--global_caption", "A ball.", "--shot_captions", "a", "b", "--dry_run"]
        assert holocine_ext.cli.main(scene) == 0
        assert "predicted: " in (shown := capsys.readouterr().out) and "TFLOP/s" not in shown


def test_long_lines_are_wrapped() -> None:
    findings = [Finding("group", "a name that is longer than the column of names is", "words " * 30, right=False)]
    table = Checked({"device": "cpu"}, findings, 1.0, 2.0).table()
    assert max(map(len, table.splitlines())) <= 80
    assert "WRONG: a name that is longer" in table
