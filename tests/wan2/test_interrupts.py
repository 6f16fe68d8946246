"""A signal in the middle of writing a file: what is written anew afterwards finds its own file, not a stranger's."""

from __future__ import annotations

from pathlib import Path

import pytest

import wan2.files
from wan2.cli.interrupts import Stopped
from wan2.plan.files import Files
from wan2.plan.plan import Extension, Plan
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.run.claim import claimed


def test_a_file_that_a_signal_interrupted_after_its_renaming_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    request = make_request(WAN22_T2V, {"prompt": "a gull", "save_path": tmp_path / "a.mp4"})
    to_disk = wan2.files._to_disk

    def interrupted(path: Path) -> None:
        to_disk(path)
        if path == tmp_path:
            raise Stopped(15)

    with claimed(Plan(request, Extension(), Files(), {})) as claim:
        state = claim.paths.state
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(wan2.files, "_to_disk", interrupted)
            with claim.whole(state) as part:
                part.write_text("first")
        assert state.read_text() == "first"
        with claim.whole(state) as part:
            part.write_text("second")
    assert state.read_text() == "second"
