"""The memory of training, counted at the true shape without numbers, and what the formula says."""

from __future__ import annotations

import pytest

from benchmarks.teaching_memory import CASES, GB, Case, counted, predicted

IDS = [f"{case.frames} frames, {case.shots} shots, {'sparse' if case.sparse else 'full'}" for case in CASES[:6]]


@pytest.mark.parametrize("case", CASES[:6], ids=IDS)
def test_the_prediction_is_near_what_is_counted(case: Case):
    assert 0.9 < predicted(case).device / counted(case) < 1.2


def test_81_frames_fit_24_gb_and_241_fit_48():
    assert counted(Case(81, 3, sparse=False, streamed=8)) < 24 * GB
    for sparse in (False, True):
        assert counted(Case(241, 6, sparse)) < 48 * GB


def test_sparse_attention_takes_a_piece_at_a_time():
    assert counted(Case(241, 6, sparse=True)) < counted(Case(241, 6, sparse=False)) - 2.5 * GB
