"""A slice of `tests.stream_faults`: real runs of the miniature with streams that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stream_faults import CODINGS, FAULTS, Fault, all_faults, prepared, wrong

SLICE = [
    ("video", Fault(err="a line")),
    ("list", Fault("closed", "closed")),
    ("list", Fault(coding="cp1252")),
    ("broken list", Fault("full", "full")),
    ("dry run", Fault("gone")),
    ("evaluation", Fault(coding="utf-16")),
]


def test_the_campaign_has_every_fault():
    assert len(set(all_faults())) == 3 * (len(FAULTS) - 1) + 1 + len(CODINGS)
    assert {fault for _, fault in SLICE} <= set(all_faults())


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("stream_faults") / "start")


@pytest.mark.parametrize(("kind", "fault"), SLICE, ids=str)
def test_trouble_with_a_stream_decides_nothing(kind: str, fault: Fault, given: Path, tmp_path: Path):
    assert wrong(fault, [kind], given, tmp_path) == {}
