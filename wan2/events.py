"""What happens while plans are carried out, as values. Knows nothing of how a run works or how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Stage(Enum):
    """The stages of a run. The values are their names in records and states."""

    LOAD = "load_libraries"
    ENCODE_TEXT = "encode_text"
    PREPARE_PREVIEWS = "prepare_previews"
    QUANTISE = "quantise"
    DENOISE = "denoise"
    DECODE = "decode"


@dataclass(frozen=True)
class Event:
    """Something that happened to one plan of those that are carried out together, by its place among them, from 0."""

    plan: int


@dataclass(frozen=True)
class StageBegan(Event):
    """A stage begins, of `total` steps or frames; `done` of them are done already. `of`: the file that is worked on."""

    stage: Stage
    total: int = 1
    done: int = 0
    of: Path | None = None


@dataclass(frozen=True)
class StepTaken(Event):
    """A step of denoising is done: its index from 0, and the latents [1, 16, F, h, w], fp32, on the run's device."""

    index: int
    latents: Tensor


@dataclass(frozen=True)
class FramesDecoded(Event):
    """One latent frame is decoded: the index of the first frame, and the frames, uint8 [n, H, W, 3]."""

    first: int
    frames: NDArray[np.uint8]


@dataclass(frozen=True)
class Settled(Event):
    """Something was chosen that is worth a line."""

    text: str


@dataclass(frozen=True)
class Noted(Event):
    """Something went wrong that ends nothing."""

    text: str


@dataclass(frozen=True)
class StateSaved(Event):
    """The run could go on from this file."""

    path: Path


@dataclass(frozen=True)
class FileWritten(Event):
    """A file is in its place, whole."""

    path: Path


@dataclass(frozen=True)
class Finished(Event):
    """A plan is carried out: its files, the main one first, and the latents, fp32 on the CPU."""

    files: tuple[Path, ...]
    latents: Tensor


@dataclass(frozen=True)
class Failed(Event):
    """A plan could not be carried out; the others go on."""

    error: BaseException
