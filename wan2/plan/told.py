"""What a finished run says of itself, by whichever of its files: the video, the record beside it, or the latents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.parsing import Reading, read_json
from wan2.plan.marks import video_record
from wan2.plan.recorded import checked_record, read_record
from wan2.request.output import CODECS, LATENT_SUFFIX
from wan2.weights.header import read_header

RECORD_SUFFIX = ".json"
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
