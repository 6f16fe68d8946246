"""Which shots are left out, and why: too short, too dark, with subtitles, below an aesthetic score."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from statistics import fmean

from holocine_ext.evaluate.clip import Frames
from holocine_ext.pictures.sheet import pick_frames
from holocine_ext.teach.cutting import Cutting, FilmShot
from holocine_ext.teach.films import Survey, pictures_at
from wan2.errors import InputError

LOOKS = 3
"""Frames of a shot that are looked at."""
LOWER = 0.6
"""Subtitles stand below this share of the height."""
LETTER = re.compile(r"\w")
OCR = "rapidocr_onnxruntime"

Reader = Callable[[Frames], str]
"""A picture, uint8 [H, W, 3] -> the text in it."""
Scorer = Callable[[Frames], float]
"""A picture, uint8 [H, W, 3] -> its aesthetic score."""
Look = Callable[[Sequence[Frames]], str]
"""Pictures of a shot -> why it is left out, or ""."""


def plainly_unfit(shot: FilmShot, survey: Survey, cutting: Cutting) -> str:
    """Why a shot is left out without a look at its pictures in full, or ""."""
    if shot.seconds < cutting.shortest:
        return f"too short: {shot.seconds:.2f} s, the shortest is {cutting.shortest:g} s"
    brightness = survey.brightness(shot.first, shot.stop)
    if brightness < cutting.darkest:
        return f"too dark: mean brightness {brightness:.1f}, the least is {cutting.darkest:g}"
    return ""


def seen_unfit(path: Path, shots: Sequence[FilmShot], looks: Sequence[Look]) -> Mapping[FilmShot, str]:
    """The shots of a film that one of `looks` leaves out, and why. The film is decoded once, a shot at a time."""
    if not looks:
        return {}
    at = {frame: shot for shot in shots for frame in pick_frames((shot.first, shot.stop), LOOKS)}
    found = {}
    for shot, frames in groupby(pictures_at(path, at), key=lambda numbered: at[numbered[0]]):
        pictures = [picture for _, picture in frames]
        if why := next(filter(None, (look(pictures) for look in looks)), ""):
            found[shot] = why
    return found


def without_subtitles(read: Reader) -> Look:
    """Leaves out shots with text in the lower part of most of their pictures."""

    def look(pictures: Sequence[Frames]) -> str:
        texts = [read(picture[int(LOWER * len(picture)) :]) for picture in pictures]
        found = [text for text in texts if LETTER.search(text)]
        return f"has subtitles: {found[0]!r:.60}" if 2 * len(found) > len(texts) else ""

    return look


def at_least(score: Scorer, least: float) -> Look:
    """Leaves out shots whose pictures have a lower mean score."""

    def look(pictures: Sequence[Frames]) -> str:
        mean = fmean(map(score, pictures))
        return "" if mean >= least else f"aesthetic score {mean:.2f}, the least is {least:g}"

    return look


def open_reader() -> Reader:
    """The reader of texts in pictures.

    Raises:
        InputError: its package is not installed.
    """
    check_reader()
    from rapidocr_onnxruntime import RapidOCR

    ocr = RapidOCR()

    def read(picture: Frames) -> str:
        found, _ = ocr(picture)
        return " ".join(text for _, text, _ in found or ())

    return read


def check_reader() -> None:
    """Raise `InputError` when the reader's package is absent. Imports nothing."""
    if find_spec(OCR) is None:
        raise InputError(f"the package {OCR} is not installed; pip install rapidocr-onnxruntime", field="no_subtitles")


def open_scorer(folder: Path, device: str) -> Scorer:
    """An aesthetic predictor: an image classification model of transformers with one output, its score.

    Raises:
        InputError: it cannot be loaded, or has several outputs.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    try:
        model = AutoModelForImageClassification.from_pretrained(folder).eval().to(device)
        processor = AutoImageProcessor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be loaded ({' '.join(str(error).split())})", field="aesthetic_model", value=folder
        ) from error
    if model.config.num_labels != 1:
        rule = f"has {model.config.num_labels} outputs; a predictor has one, the score"
        raise InputError(rule, field="aesthetic_model", value=folder)

    @torch.inference_mode()
    def score(picture: Frames) -> float:
        inputs = processor(images=[picture], return_tensors="pt").to(device)
        return float(model(**inputs).logits[0, 0])

    return score


def runs_of(shots: Sequence[FilmShot], left_out: Mapping[FilmShot, str]) -> Iterator[list[FilmShot]]:
    """The shots that follow each other without one that is left out."""
    for out, run in groupby(shots, key=lambda shot: shot in left_out):
        if not out:
            yield list(run)
