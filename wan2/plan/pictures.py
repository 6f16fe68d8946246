"""How a picture of one size fills a frame of another. Integers only; opens the head of a file, decodes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wan2.errors import InputError
from wan2.parsing import Reading

# The least share of a picture that may be left of it when it is cropped; below that it gets a border.
LEAST_KEPT = 0.6
MOST_PIXELS = 1 << 27
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
# In the head of a picture, how its camera was held; from this value on it was on its side.
ORIENTATION, FIRST_TURNED = 0x0112, 5

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


@dataclass(frozen=True)
class Fit:
    """A picture in a frame; sizes are (width, height).

    Of the picture `crop` is kept, all of it or all but two margins, and drawn as large as `inner`, in the middle of a
    frame of `outer`.
    """

    given: tuple[int, int]
    crop: Box
    inner: tuple[int, int]
    outer: tuple[int, int]

    def __str__(self) -> str:
        """What is done, in words."""
        words = [f"{self.given[0]}x{self.given[1]}"]
        left, top, right, bottom = self.crop
        if (right - left, bottom - top) != self.given:
            words.append(f"cropped to {right - left}x{bottom - top}")
        if (right - left, bottom - top) != self.inner:
            words.append(f"resized to {self.inner[0]}x{self.inner[1]}")
        if self.inner != self.outer:
            words.append(f"with a plain border up to {self.outer[0]}x{self.outer[1]}")
        return ", ".join(words)


def fit(given: tuple[int, int], outer: tuple[int, int]) -> Fit:
    """How a picture fills a frame: cropped where most of it is left, else whole inside a plain border."""
    scale = max(outer[0] / given[0], outer[1] / given[1])
    kept = tuple(min(side, max(1, round(full / scale))) for side, full in zip(given, outer, strict=True))
    if kept[0] * kept[1] >= LEAST_KEPT * given[0] * given[1]:
        left, top = (given[0] - kept[0]) // 2, (given[1] - kept[1]) // 2
        return Fit(given, (left, top, left + kept[0], top + kept[1]), outer, outer)
    scale = min(outer[0] / given[0], outer[1] / given[1])
    width, height = (min(full, max(1, round(side * scale))) for side, full in zip(given, outer, strict=True))
    return Fit(given, (0, 0, *given), (width, height), outer)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, turned as its camera says. Reads the head of the file.

    Raises:
        InputError: no such file, or one that is no picture or too large.
    """
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() not in PICTURES:
        raise InputError(f"{path}: is no picture; must end in {', '.join(PICTURES)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with Reading(str(path)):
        try:
            with Image.open(path) as picture:
                size, turned = picture.size, picture.getexif().get(ORIENTATION, 1) >= FIRST_TURNED
        except (UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise InputError(f"{path}: is no picture that can be read") from error
    if size[0] * size[1] > MOST_PIXELS:
        raise InputError(f"{path}: has more than {MOST_PIXELS} pixels")
    return (size[1], size[0]) if turned else size
