"""Text into a picture: broken into lines, each run of it in a font that has its letters. Knows nothing of videos."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby, islice

from PIL import ImageDraw, ImageFont, features

from holocine_ext.pictures.faces import OWN_FONT, clusters, drawable, font_of

LEADING = 1.4
ELLIPSIS = "…"
# The characters of a line of thin letters; what is beyond the last line is not even looked at.
PIXELS_A_LETTER = 3


def leading(size: int) -> int:
    """Pixels from one line of text to the next."""
    return round(size * LEADING)


class Text:
    """A text wrapped to a width in pixels, in so many lines at most; where more were needed, the last ends in "…"."""

    def __init__(self, text: str, size: int, width: int, most_lines: int) -> None:
        self.size, self.width = size, width
        room = most_lines * max(width // PIXELS_A_LETTER, 1)
        shown = drawable(text)
        self.lines = list(islice(self._lines(shown[:room]), most_lines + 1))
        if len(self.lines) > most_lines or len(shown) > room:
            del self.lines[most_lines:]
            self.lines[-1] = self._shortened(self.lines[-1])

    @property
    def height(self) -> int:
        """Pixels of all lines together."""
        return len(self.lines) * leading(self.size)

    def draw(self, draw: ImageDraw.ImageDraw, left: int, top: int, colour: str) -> None:
        """Draw the lines below each other, the letters of all fonts on one baseline."""
        to_left = _reads_to_left("".join(self.lines))
        direction = ("rtl" if to_left else "ltr") if features.check_feature("raqm") else None
        for number, line in enumerate(self.lines):
            place = left + (self.width - text_width(line, self.size) if to_left else 0)
            baseline = top + number * leading(self.size) + own_font(self.size).getmetrics()[0]
            runs = _runs(line, self.size)
            for font, text in reversed(runs) if to_left else runs:
                draw.text((place, baseline), text, colour, font, anchor="ls", direction=direction)
                place += font.getlength(text)

    def _lines(self, text: str) -> Iterator[str]:
        """Lines no wider than the width: broken at blanks, and inside a word that is wider by itself."""
        blank = own_font(self.size).getlength(" ")
        line, used = "", 0.0
        for word in text.split():
            for piece, width in self._pieces(word):
                if line and used + blank + width <= self.width:
                    line, used = f"{line} {piece}", used + blank + width
                    continue
                if line:
                    yield line
                line, used = piece, width
        if line:
            yield line

    def _pieces(self, word: str) -> Iterator[tuple[str, float]]:
        """The word, or what of it fits into a line each, with the widths; a letter and its marks stay together."""
        whole = text_width(word, self.size)
        if whole <= self.width:
            yield word, whole
            return
        piece, used = "", 0.0
        for cluster in clusters(word):
            width = text_width(cluster, self.size)
            if piece and used + width > self.width:
                yield piece, used
                piece, used = "", 0.0
            piece, used = piece + cluster, used + width
        yield piece, used

    def _shortened(self, line: str) -> str:
        """The line with an ellipsis at its end, and as much less as that needs."""
        parts = list(clusters(line))
        while parts and text_width("".join(parts) + ELLIPSIS, self.size) > self.width:
            parts.pop()
        return "".join(parts).rstrip() + ELLIPSIS


def _reads_to_left(text: str) -> bool:
    """Whether the first letter that has a direction is of a script that is written to the left."""
    kinds = (unicodedata.bidirectional(char) for char in text)
    return next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L"


def text_width(text: str, size: int) -> float:
    """Pixels that a drawable text takes in a line."""
    return sum(font.getlength(run) for font, run in _runs(text, size))


@lru_cache(maxsize=64)
def own_font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with the program."""
    return ImageFont.truetype(str(OWN_FONT), size)


@lru_cache(maxsize=4096)
def _runs(text: str, size: int) -> tuple[tuple[ImageFont.FreeTypeFont, str], ...]:
    """The text as runs of one font each: one for all of it where there is one, else for a word, else for a letter."""
    if font_of(text) is not None:
        return ((_font(text, size), text),)
    pieces = [piece for word in text.split(" ") for piece in (*_fitting(word), " ")][:-1]
    chosen = ((_font(piece, size), piece) for piece in pieces)
    return tuple((font, "".join(piece for _, piece in run)) for font, run in groupby(chosen, key=lambda one: one[0]))


def _fitting(word: str) -> Iterator[str]:
    yield from (word,) if font_of(word) is not None else clusters(word)


@lru_cache(maxsize=4096)
def _font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The font for a text, as far as there is one that pillow can draw in this size."""
    path = font_of(text)
    try:
        return own_font(size) if path in (None, OWN_FONT) else ImageFont.truetype(str(path), size)
    except OSError:  # pictures instead of outlines
        return own_font(size)
