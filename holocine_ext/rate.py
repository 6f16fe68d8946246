"""The rate of a machine as flags give it, for the commands that say how long something takes. Prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wan2.cli.arguments import number
from wan2.cli.main import cache_folder
from wan2.errors import InputError
from wan2.plan.rates import MACHINE, Rate, given_rate, kept_rate, rate_of_card

RATE_FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "tflops": (
        "what the machine does in a second, in 10^12 operations; --dry_run then shows the time, too",
        {"type": number, "metavar": "N"},
    ),
    "card": (
        'a card such as "RTX 4090"; --dry_run then shows the time predicted from what its maker publishes',
        {"metavar": "NAME"},
    ),
}
"""Flags that give the rate of a machine: what their help says, and how they are read; see `rate_given`."""


def rate_given(given: Mapping[str, Any]) -> Rate | None:
    """The rate of the machine, if one was given. Refuses one that is none, or that nobody asks for."""
    tflops, card = given["tflops"], given["card"]
    for name, value in (("tflops", None if tflops is None else f"{tflops:g}"), ("card", card)):
        if value is not None and not given["dry_run"]:
            raise InputError("only `dry_run` says how long a run takes; give both", field=name, value=value)
    if tflops is not None and card is not None:
        raise InputError("`tflops` and `card`: two ways of giving a rate; give one")
    if card is not None:
        return rate_of_card(card)
    if tflops is not None:
        return given_rate(tflops)
    return kept_rate(cache_folder() / MACHINE) if given["dry_run"] else None
