"""What one setting of a request may be, what it decides, and its line of help. How settings go together is not here.

The records in `request.py` say all of this on their fields; checks, the command line, and what `--resume` compares are
derived from it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from typing import Any, Protocol

from wan2.errors import InputError
from wan2.models.kernel_table import AUTO
from wan2.shapes import SIZE_MULTIPLE

# The rates of television and film that run a thousandth slower than their name. People write them with two decimals or
# with three: 23.98, 23.976.
SLOWED_RATES = tuple(rate * 1000 / 1001 for rate in (12, 15, 24, 30, 48, 60, 72, 90, 96, 120, 144, 240))
RATE_TOLERANCE = 0.005
SETTING = "setting"


class Rule(Protocol):
    """What a value must be."""

    def check(self, field: str, value: Any) -> None:  # noqa: ANN401
        """Raise `InputError` for a value that breaks the rule."""
        ...


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`, both included."""

    low: float
    high: float
    whole: bool = False

    def check(self, field: str, value: Any) -> None:  # noqa: ANN401
        """Refuse what is no such number."""
        if isinstance(value, str) or (self.whole and not isinstance(value, int)):
            raise InputError("must be a whole number", field=field, value=value)
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError("must be a finite number", field=field, value=value)
        if not self.low <= value <= self.high:
            raise InputError(f"must lie between {self.low} and {self.high}", field=field, value=value)


@dataclass(frozen=True)
class Pixels:
    """A whole number of pixels on the grid of the latents; `side` is height or width."""

    side: str
    low: int
    high: int = 8192

    def check(self, field: str, value: Any) -> None:  # noqa: ANN401
        """Refuse a size that is out of range or off the grid."""
        Number(self.low, self.high, whole=True).check(field, value)
        if value % SIZE_MULTIPLE:
            near = max(SIZE_MULTIPLE, SIZE_MULTIPLE * round(value / SIZE_MULTIPLE))
            rule = f"the {self.side} must be a multiple of {SIZE_MULTIPLE}, for example {near}"
            raise InputError(rule, field=field, value=value)


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    choices: tuple[str, ...]

    def check(self, field: str, value: Any) -> None:  # noqa: ANN401
        """Refuse any other."""
        if value not in self.choices:
            raise InputError(f"must be one of {', '.join(self.choices)}", field=field, value=value)


@dataclass(frozen=True)
class CountOrAuto:
    """A whole number from 0 to `high`, or the word auto."""

    high: int

    def check(self, field: str, value: Any) -> None:  # noqa: ANN401
        """Refuse anything else."""
        if value != AUTO:
            Number(0, self.high, whole=True).check(field, value)


class Words:
    """A text that can be written as UTF-8."""

    def check(self, field: str, value: Any) -> None:  # noqa: ANN401
        """Refuse a text with characters that stand for no character."""
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"is not valid UTF-8 text (character {error.start + 1})", field=field) from error


@dataclass(frozen=True)
class Setting:
    """What stands on a field of a request.

    Attributes:
        help: one line for the command line.
        rule: what the value must be; None where the type says it all.
        decides: whether the latents depend on it, so that a run that goes on must have the same.
        decoding: whether it means something when saved latents are only decoded.
        common: whether the short help shows it.
    """

    help: str
    rule: Rule | None = None
    decides: bool = False
    decoding: bool = False
    common: bool = False


def setting(about: Setting, default: Any = MISSING) -> Any:  # noqa: ANN401
    """A field of a record with what is known about it."""
    return dataclasses.field(default=default, metadata={SETTING: about})


def settings_of(record: object) -> Iterator[tuple[str, Setting]]:
    """The fields of a record, or of its class, that are settings: their names and what is known about them."""
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        if SETTING in field.metadata:
            yield field.name, field.metadata[SETTING]


def check_settings(record: object) -> None:
    """Hold every setting of a record against its rule.

    Raises:
        InputError: the first that breaks it.
    """
    for name, about in settings_of(record):
        if about.rule is not None:
            about.rule.check(name, getattr(record, name))


def exact_rate(fps: float) -> float:
    """The frames per second that a number stands for: 24000/1001 for 23.976, for most numbers themselves."""
    return next((slowed for slowed in SLOWED_RATES if abs(fps - slowed) < RATE_TOLERANCE), fps)
