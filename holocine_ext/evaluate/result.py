"""The results of every video, and the rows that sum them up. Does not know how anything was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import NormalDist, fmean

from holocine_ext.evaluate.asked import Asked
from holocine_ext.evaluate.cuts import CutScore

MEASURES = {
    "caption": "captions agree",
    "inter_shot": "same across shots",
    "unnamed": "hat kept",
    "intra_first": "like the first frame",
    "intra_frames": "frame to frame",
}
"""Name in the JSON -> heading."""
RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class ShotNote:
    """What was seen in one shot: facts as (name, value in the caption, value in the picture)."""

    facts: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class VideoResult:
    """Everything measured on one video. `cuts` by detector, of which the first one counts; `measures` by `MEASURES`."""

    asked: Asked
    num_frames: int
    fps: float
    size: tuple[int, int]
    cuts: dict[str, CutScore]
    measures: dict[str, float | None]
    shots: tuple[ShotNote, ...] = ()
    sheet: bytes = field(default=b"", repr=False)
    """The contact sheet as a JPEG."""

    @property
    def score(self) -> CutScore:
        """The score that counts: that of the first detector."""
        return next(iter(self.cuts.values()))

    def as_record(self) -> dict[str, object]:
        """The result as JSON values."""
        shots = [
            {
                "caption": caption,
                "facts": [dict(zip(("fact", "told", "seen"), fact, strict=True)) for fact in note.facts],
            }
            for caption, note in zip(self.asked.captions, self.shots, strict=False)
        ]
        return {
            "row": self.asked.row,
            "video": self.asked.video.name,
            "num_frames": self.num_frames,
            "fps": self.fps,
            "size": list(self.size),
            "cuts": {name: score.as_record() for name, score in self.cuts.items()},
            "measures": self.measures,
            "shots": shots,
        }


@dataclass(frozen=True)
class Estimate:
    """A mean over videos with its 95 % interval."""

    mean: float
    low: float
    high: float
    count: int

    def as_record(self) -> dict[str, float]:
        """The estimate as JSON values."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "videos": self.count}


@dataclass(frozen=True)
class Row:
    """The means of several videos: heading -> estimate, None where nothing was measured."""

    name: str
    videos: int
    columns: dict[str, Estimate | None]

    def as_record(self) -> dict[str, object]:
        """The row as JSON values."""
        columns = {column: None if e is None else e.as_record() for column, e in self.columns.items()}
        return {"row": self.name, "videos": self.videos, "columns": columns}


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean and its interval by bootstrap over videos, with a fixed seed; None without values."""
    if not values:
        return None
    rng = Random(0)
    means = sorted(fmean(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Estimate(fmean(values), means[tail], means[-1 - tail], len(values))


def share(answers: Sequence[bool]) -> Estimate:
    """The share of true answers with Wilson's interval, which is right even if all are true."""
    mean, count = fmean(answers), len(answers)
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = (mean + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count))
    return Estimate(mean, max(0.0, middle - reach), min(1.0, middle + reach), count)


def summarise(results: Sequence[VideoResult]) -> list[Row]:
    """A row for every `Asked.row`, in order of appearance. Columns without any value are left out."""
    names = list(dict.fromkeys(result.asked.row for result in results))
    rows = [_row(name, [result for result in results if result.asked.row == name]) for name in names]
    empty = {column for column in rows[0].columns if all(row.columns[column] is None for row in rows)}
    return [Row(r.name, r.videos, {c: e for c, e in r.columns.items() if c not in empty}) for r in rows]


def _row(name: str, results: Sequence[VideoResult]) -> Row:
    first, *others = results[0].cuts
    columns: dict[str, Estimate | None] = {
        "SCA": estimate([result.cuts[first].sca for result in results]),
        "right number of cuts": share([result.cuts[first].right_count for result in results]),
    }
    columns |= {f"SCA ({other})": estimate([result.cuts[other].sca for result in results]) for other in others}
    for measure, heading in MEASURES.items():
        values = (result.measures.get(measure) for result in results)
        columns[heading] = estimate([value for value in values if value is not None])
    return Row(name, len(results), columns)
