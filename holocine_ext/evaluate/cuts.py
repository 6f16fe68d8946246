"""Shot Cut Accuracy of HoloCine (arXiv 2510.20822, appendix), and its components. Knows nothing of videos.

SCA = exp(-(E_matched + E_penalty) / F_total). The paper leaves matching and penalty open. Here cuts are matched one to
one so that the total error is least, and every asked cut without a partner (missed) and every found one (extra) costs
F_total / N_shots frames. A pair further apart than two such penalties therefore counts as one missed and one extra,
and a wrong cut never costs more than its penalty. A video without a cut scores exp(-(N - 1) / N).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PROTOCOL = (
    "SCA = exp(-(E_matched + E_penalty) / F_total). E_matched: frames between asked and found cuts, matched one to one "
    "so that the total error is least. E_penalty: F_total / N_shots frames for every missed or extra cut. "
    "F_total: frames of the video; N_shots: shots asked for."
)


@dataclass(frozen=True)
class CutScore:
    """One video's cuts, asked and found, in frames: a cut is the first frame of a shot."""

    asked: tuple[int, ...]
    found: tuple[int, ...]
    num_frames: int
    pairs: tuple[tuple[int, int], ...]
    """(asked, found), in order."""

    @property
    def missed(self) -> tuple[int, ...]:
        """Asked cuts without a partner."""
        return _without(self.asked, [asked for asked, _ in self.pairs])

    @property
    def extra(self) -> tuple[int, ...]:
        """Found cuts without a partner."""
        return _without(self.found, [found for _, found in self.pairs])

    @property
    def matched_error(self) -> int:
        """E_matched in frames."""
        return sum(abs(asked - found) for asked, found in self.pairs)

    @property
    def penalty_error(self) -> float:
        """E_penalty in frames."""
        unmatched = len(self.asked) + len(self.found) - 2 * len(self.pairs)
        return unmatched * self.num_frames / (len(self.asked) + 1)

    @property
    def sca(self) -> float:
        """Shot Cut Accuracy, 0 to 1."""
        return math.exp(-(self.matched_error + self.penalty_error) / self.num_frames)

    @property
    def right_count(self) -> bool:
        """Whether there are as many cuts as asked for."""
        return len(self.asked) == len(self.found)

    def as_record(self) -> dict[str, object]:
        """The score and its components as JSON values."""
        return {
            "sca": self.sca,
            "asked": list(self.asked),
            "found": list(self.found),
            "pairs": [list(pair) for pair in self.pairs],
            "missed": list(self.missed),
            "extra": list(self.extra),
            "matched_error_frames": self.matched_error,
            "penalty_error_frames": self.penalty_error,
            "right_count": self.right_count,
        }


def score_cuts(asked: Sequence[int], found: Sequence[int], num_frames: int) -> CutScore:
    """Match found cuts to asked ones, both in frames and in any order, in a video of `num_frames`."""
    a, b = tuple(sorted(asked)), tuple(sorted(found))
    return CutScore(a, b, num_frames, _match(a, b, num_frames))


def _match(a: tuple[int, ...], b: tuple[int, ...], num_frames: int) -> tuple[tuple[int, int], ...]:
    """The pairs of least total error. On a line some best matching never crosses, so an alignment finds it exactly.

    Errors are counted in 1/N_shots of a frame: whole numbers, in which a penalty is `num_frames`.
    """
    unit = len(a) + 1
    cost = [[(i + j) * num_frames for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i, asked in enumerate(a, 1):
        for j, found in enumerate(b, 1):
            apart = min(cost[i - 1][j], cost[i][j - 1]) + num_frames
            cost[i][j] = min(apart, cost[i - 1][j - 1] + unit * abs(asked - found))
    pairs: list[tuple[int, int]] = []
    i, j = len(a), len(b)
    while i and j:
        if cost[i][j] == cost[i - 1][j - 1] + unit * abs(a[i - 1] - b[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((a[i], b[j]))
        elif cost[i][j] == cost[i - 1][j] + num_frames:
            i -= 1
        else:
            j -= 1
    return tuple(reversed(pairs))


def _without(cuts: tuple[int, ...], partners: list[int]) -> tuple[int, ...]:
    rest = list(cuts)
    for cut in partners:
        rest.remove(cut)
    return tuple(rest)
