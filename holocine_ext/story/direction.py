"""What a shot is made with besides its caption: a take, a seed, a guidance scale. Opens no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holocine_ext.story.fields import Fields
from holocine_ext.story.lengths import FROM
from wan2.errors import InputError
from wan2.request.flat import RANGES
from wan2.request.model import GUIDANCE, MULTIPLIER

# What a record says of it by itself; what came from a take is told by the shots that were held.
OF_RECORD = ("seed", "guidance_scale", "lora_multiplier")
DIRECTION = (FROM, "strength", *OF_RECORD)
STRENGTH = (0.01, 0.99)


@dataclass(frozen=True)
class Direction:
    """How one shot is made; None stands for as the rest of the scene.

    take, number: the file of an earlier run and which of its shots, from 1, this one is. strength: the noise level from
    which it is made anew of that; None leaves it as it is. seed: of noise of its own.
    lora_multiplier: how much of each LoRA of an expert counts in the shot, or one number for all of them.
    """

    take: Path | None = None
    number: int = 0
    strength: float | None = None
    seed: int | None = None
    guidance_scale: float | None = None
    lora_multiplier: tuple[float, ...] | None = None

    def as_record(self) -> dict[str, Any]:
        """What the rest of a record does not say."""
        told = {name: getattr(self, name) for name in OF_RECORD if getattr(self, name) is not None}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}


def direction_of(shot: Fields, folder: Path) -> Direction:
    """How a shot of a document is made; takes are relative to the folder.

    Raises:
        InputError: a value that breaks its rule, or one that would change nothing.
    """
    strength, seed = shot.number("strength", *STRENGTH), shot.whole("seed", *RANGES["seed"])
    guidance = shot.number("guidance_scale", GUIDANCE.low, GUIDANCE.high)
    loras = shot.numbers("lora_multiplier", MULTIPLIER.low, MULTIPLIER.high)
    name = shot.text(FROM)
    if name is None:
        if strength is not None:
            raise shot.refuse("strength", "says how much of a take is made anew; give from, too")
        return Direction(seed=seed, guidance_scale=guidance, lora_multiplier=loras)
    if strength is None and (given := [field for field in OF_RECORD if shot.table.get(field) is not None]):
        raise InputError(f"{shot.name(given[0])}: a shot that is as in its take takes none; give strength, too")
    file, number = shot_of_take(shot)
    return Direction(folder / file, number, strength, seed, guidance, loras)


def shot_of_take(fields: Fields) -> tuple[str, int]:
    """The file of a take, and the number of a shot of it.

    Raises:
        InputError: it is written otherwise.
    """
    file, mark, number = (fields.text(FROM) or "").rpartition("#")
    if not mark or not file or not number.isdecimal() or len(number) > len(str(RANGES["num_frames"][1])):
        raise fields.refuse(FROM, "must be the file of a take and the number of a shot, such as takes/night.mp4#2")
    return file, int(number)


def told_directions(shots: object, place: str, count: int) -> tuple[Direction, ...]:
    """The directions that a record tells of; none where it does not.

    Raises:
        InputError: not one for each of so many shots, or a value that breaks its rule.
    """
    if shots is None or shots == []:
        return ()
    if not isinstance(shots, list) or len(shots) != count:
        raise InputError(f"{place}: directions: must be {count}")
    tables = [Fields(shot, f"{place}: directions: shot {i}", OF_RECORD) for i, shot in enumerate(shots, 1)]
    return tuple(direction_of(table, Path()) for table in tables)


def any_of(directions: Sequence[Direction]) -> tuple[Direction, ...]:
    """The directions; none where no shot has any."""
    return tuple(directions) if any(direction != Direction() for direction in directions) else ()
