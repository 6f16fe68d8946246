"""What a finished run says of itself, by whichever of its files: the video, the record beside it, or the latents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from wan2.errors import InputError
from wan2.parsing import Reading, read_json
from wan2.plan.marks import video_record
from wan2.plan.recorded import checked_record, read_record
from wan2.request.flat import SETTINGS, typed
from wan2.request.output import CODECS, LATENT_SUFFIX
from wan2.weights.header import read_header

RECORD_SUFFIX = ".json"
LORAS = ("lora_weight", "lora_weight_high_noise")
TELLING = (*dict.fromkeys(CODECS.values()), LATENT_SUFFIX)
"""The files of a run, besides its record, that carry it."""


def told_by(path: Path) -> dict[str, Any] | None:
    """The record of the run that made a file; None or empty where the file does not say.

    Raises:
        InputError: the file cannot be read, or is of no run.
    """
    readers: dict[str, Callable[[Path], dict[str, Any] | None]] = {
        RECORD_SUFFIX: read_record,
        LATENT_SUFFIX: of_latents,
        **dict.fromkeys(CODECS.values(), _of_video),
    }
    if path.suffix not in readers:
        raise InputError(f"{path}: must end in {', '.join(readers)}")
    return readers[path.suffix](path)


def settings_told(path: Path, record: Mapping[str, Any], left_out: Iterable[str]) -> dict[str, Any]:
    """The settings that a run's video depends on, by their flat names, and its LoRAs; some are `left_out`.

    Raises:
        InputError: one that is of another type.
    """
    wanted = {name for name, about in SETTINGS.items() if about.decides} | {*LORAS}
    found = {}
    for name in sorted((wanted - {*left_out}) & record["options"].keys()):
        try:
            found[name] = typed(name, record["options"][name])
        except msgspec.ValidationError as error:
            raise InputError(f"{path}: its option {name} does not hold what it should") from error
    return found


def of_latents(path: Path) -> dict[str, Any]:
    """The record of the run that made latents, empty where they hold none. Raises as `told_by`."""
    with Reading(str(path)):
        header = read_header(path)
    if "record" not in header.metadata:
        return {}
    return checked_record(path, read_json(header.metadata["record"], str(path), "record"))


def _of_video(path: Path) -> dict[str, Any] | None:
    """The record in a video, or the one next to it where the video has lost it."""
    with Reading(str(path)):
        text = video_record(path)
    if not text:
        return read_record(path.with_suffix(RECORD_SUFFIX))
    try:
        return checked_record(path, json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: carries no record of a run") from error
