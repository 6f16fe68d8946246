"""What the words of a command line may be. Each raises `argparse.ArgumentTypeError` for what is none."""

from __future__ import annotations

import argparse
import re

from wan2.request.fields import exact_rate

FRACTION = re.compile(r"\s*(\d{1,12})\s*/\s*(\d{1,12})\s*")
SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")


def number(text: str) -> float:
    """A number, for argparse."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error


def whole_number(text: str) -> int:
    """A whole number, for argparse."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error


def frame_rate(text: str) -> float:
    """Frames per second, for argparse: a number or a fraction of whole numbers, made exact."""
    if not (fraction := FRACTION.fullmatch(text)):
        return exact_rate(number(text))
    above, below = int(fraction[1]), int(fraction[2])
    if not below:
        raise argparse.ArgumentTypeError(f"{text!r} is divided by 0")
    return exact_rate(above / below)


def shard(text: str) -> tuple[int, int]:
    """One of several shards, for argparse: `2/5`, counted from 1."""
    found = SHARD.fullmatch(text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is none of 1/N to N/N")
    return int(found[1]), int(found[2])
