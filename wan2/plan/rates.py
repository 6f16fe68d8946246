"""How many operations a machine does in a second: as it was given, or from what its maker publishes. Measures nothing.

The published peaks are of dense matrix products in bfloat16 with sums in fp32. A run reaches a share of them, which
depends on memory bandwidth and power; the shares here are assumed, from what others report of large transformers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import inf
from pathlib import Path

from wan2.errors import InputError
from wan2.files import whole_file

DATA_CENTRE, GEFORCE, APPLE = 0.55, 0.85, 0.7
"""The share of the peak that is assumed, by family."""


@dataclass(frozen=True)
class Rate:
    """Operations in a second, in 10^12, and where the figure comes from, in words."""

    tflops: float
    source: str


@dataclass(frozen=True)
class Card:
    """A card: its published peak in 10^12 operations a second, the share of it that is assumed, who says so."""

    peak: float
    share: float
    said: str = "published"


CARDS = {
    "H200": Card(989, DATA_CENTRE),
    "H100": Card(989, DATA_CENTRE),
    "A100": Card(312, DATA_CENTRE),
    "RTX 5090": Card(209.5, GEFORCE),
    "RTX 5080": Card(112.6, GEFORCE),
    "RTX 5070 Ti": Card(87.9, GEFORCE),
    "RTX 4090": Card(165.2, GEFORCE),
    "RTX 4080": Card(97.5, GEFORCE),
    "RTX 4070 Ti": Card(80.2, GEFORCE),
    "RTX 3090": Card(71, GEFORCE),
    "RTX 3080": Card(59.5, GEFORCE),
    "RTX 3060": Card(25.5, GEFORCE),
    "Apple M4 Max": Card(18, APPLE, "estimated: Apple publishes none"),
    "Apple M4 Pro": Card(9, APPLE, "estimated: Apple publishes none"),
}
"""Name of a card -> what is known of it."""
MACHINE = "machine.json"
"""What a check of the machine found, in the cache folder."""
# What a name may have and need not.
_DECORATION = re.compile(r"nvidia|geforce|apple|rtx|sxm|[\s_-]")


def rate_of_card(name: str) -> Rate:
    """The rate of a card, by its name in any spelling.

    Raises:
        InputError: it is not in the table.
    """
    wanted = _plain(name)
    for known, card in CARDS.items():
        if wanted and _plain(known) == wanted:
            source = f"{known}: {card.share:g} of its {card.peak:g} TFLOP/s, {card.said}"
            return Rate(card.peak * card.share, source)
    known = ", ".join(CARDS)
    raise InputError(f"is not in the table; `tflops` gives a rate. Known are {known}", field="card", value=name)


def given_rate(tflops: float) -> Rate:
    """A rate as it was given, in 10^12 operations a second.

    Raises:
        InputError: it is none.
    """
    if not 0 < tflops < inf:
        raise InputError("must be a finite number above 0", field="tflops", value=f"{tflops:g}")
    return Rate(tflops, f"at {tflops:g} TFLOP/s")


def keep(path: Path, checked: str) -> None:
    """Keep what a check of the machine found, as JSON, whole or not at all. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(checked, encoding="utf-8")


def kept_rate(path: Path) -> Rate | None:
    """The rate that a check of this machine found; None where none was made, or what is there cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rate = given_rate(float(found["tflops"]))
        return Rate(rate.tflops, f"measured by `check_machine` on {found['machine']['device']}")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _plain(name: str) -> str:
    return _DECORATION.sub("", name.lower())
