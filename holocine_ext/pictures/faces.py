"""Which font has which characters, by the fonts' own tables. Knows nothing of pictures, and needs no library for it.

One font comes with the program and has the Latin, Greek, Cyrillic, Arabic and Hebrew letters and common signs; for
other scripts there are the fonts of the system.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path

OWN_FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
# Fonts of many characters first, then whatever systems have for single scripts.
SYSTEM_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "/System/Library/Fonts/AppleSDGothicNeo.ttc",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "/Library/Fonts/Arial Unicode.ttf",
    "C:/Windows/Fonts/msyh.ttc",
    "C:/Windows/Fonts/YuGothM.ttc",
    "C:/Windows/Fonts/malgun.ttf",
    "C:/Windows/Fonts/Nirmala.ttc",
    "C:/Windows/Fonts/Nirmala.ttf",
    "C:/Windows/Fonts/LeelawUI.ttf",
    "C:/Windows/Fonts/segoeui.ttf",
    "C:/Windows/Fonts/seguisym.ttf",
    "C:/Windows/Fonts/seguiemj.ttf",
)
FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
)
PATTERNS = (
    "NotoSans*Regular.[ot]tf",
    "NotoSans*Regular.ttc",
    "Noto*Emoji*Regular.ttf",
    "*Sans*Regular.[ot]tf",
    "*.ttf",
)
MOST_FONTS = 400
MOST_NAMED = 5
# The plane and the place in it of what joins to the sign before: variations of its look, and colours of skin.
JOINING = (range(0xFE00, 0xFE10), range(0x1F3FB, 0x1F400), range(0xE0100, 0xE01F0))
JOINER = "\u200d"
REPLACEMENT = "\ufffd"
_REPLACED = re.compile(f"{REPLACEMENT}+")


def clusters(text: str) -> Iterator[str]:
    """The text in pieces that are drawn as one: a letter with its marks, signs that are joined."""
    piece = ""
    for char in text:
        joins = unicodedata.category(char).startswith("M") or any(ord(char) in part for part in JOINING)
        if piece and not joins and char != JOINER and not piece.endswith(JOINER):
            yield piece
            piece = ""
        piece += char
    if piece:
        yield piece


def drawable(text: str) -> str:
    """The text with one blank for white space, and one � for what cannot be drawn: controls, halves of characters."""
    return _REPLACED.sub(REPLACEMENT, "".join(_drawn(char) for char in " ".join(text.split())))


def _drawn(char: str) -> str:
    kind = unicodedata.category(char)
    if kind in ("Cc", "Cs"):
        return REPLACEMENT
    return "" if kind == "Cf" and char != JOINER else char


def font_of(text: str) -> Path | None:
    """The first font that has every character of a drawable text; None where there is none."""
    needed = frozenset(ord(char) for char in text if _needs_glyph(char))
    return next((path for path in _fonts() if needed <= _characters(path)), None) if needed else OWN_FONT


def font_warnings(texts: Iterable[str]) -> tuple[str, ...]:
    """One warning, where the contact sheet of these texts will show boxes; else none."""
    if not (scripts := unknown_scripts(texts)):
        return ()
    more = f" and {len(scripts) - MOST_NAMED} more" if len(scripts) > MOST_NAMED else ""
    named = ", ".join(scripts[:MOST_NAMED]) + more
    return (f"the contact sheet shows boxes for {named}: no font of this machine has them; Noto fonts have",)


def unknown_scripts(texts: Iterable[str]) -> tuple[str, ...]:
    """The scripts of the characters that no font of this machine has, each with one of them: `Thai (ก)`."""
    found: dict[str, str] = {}
    for char in sorted({char for text in texts for char in drawable(text)}):
        if _needs_glyph(char) and font_of_char(char) is None:
            found.setdefault(_script(char), char if char.isprintable() else f"U+{ord(char):04X}")
    return tuple(f"{script} ({char})" for script, char in sorted(found.items()))


@lru_cache(maxsize=1 << 16)
def font_of_char(char: str) -> Path | None:
    """`font_of` a single character."""
    return font_of(char)


def _needs_glyph(char: str) -> bool:
    return not char.isspace() and char != JOINER and not any(ord(char) in part for part in JOINING)


def _script(char: str) -> str:
    """The name of a character's script, as far as Unicode's name of it says so."""
    if (kind := unicodedata.category(char)[0]) in "SP":
        return {"S": "symbols", "P": "punctuation"}[kind]
    return unicodedata.name(char, "private characters").partition(" ")[0].replace("CJK", "Chinese").capitalize()


def _fonts() -> Iterator[Path]:
    yield OWN_FONT
    yield from _system_fonts()


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[Path, ...]:
    named = [Path(name) for name in SYSTEM_FONTS if Path(name).is_file()]
    return tuple(dict.fromkeys([*named, *islice(_found(), MOST_FONTS)]))


def _found() -> Iterator[Path]:
    for pattern in PATTERNS:
        for name in FOLDERS:
            with suppress(RuntimeError, OSError):  # a user without a home; a folder that may not be read
                yield from sorted(Path(name).expanduser().rglob(pattern))


@cache
def _characters(path: Path) -> frozenset[int]:
    """The code points a font has a glyph for; none where the file is no font that can be read."""
    try:
        content = path.read_bytes()
        return frozenset(_mapped(content, _table(content, b"cmap")))
    except (OSError, struct.error, LookupError):
        return frozenset()


def _table(content: bytes, name: bytes) -> int:
    """Where a table of a font begins, of the first font where a file holds several."""
    start = struct.unpack_from(">I", content, 12)[0] if content[:4] == b"ttcf" else 0
    for number in range(struct.unpack_from(">H", content, start + 4)[0]):
        tag, _, offset = struct.unpack_from(">4sII", content, start + 12 + 16 * number)
        if tag == name:
            return int(offset)
    raise LookupError(name)


def _mapped(content: bytes, cmap: int) -> Iterator[int]:
    """The characters of the tables of formats 4 and 12, which are all that Unicode fonts use."""
    for number in range(struct.unpack_from(">H", content, cmap + 2)[0]):
        platform, _, offset = struct.unpack_from(">HHI", content, cmap + 4 + 8 * number)
        start = cmap + offset
        form = struct.unpack_from(">H", content, start)[0]
        if platform in (0, 3) and form == 4:
            yield from _segments(content, start)
        elif platform in (0, 3) and form == 12:
            for group in range(min(struct.unpack_from(">I", content, start + 12)[0], 1 << 16)):
                first, last, glyph = struct.unpack_from(">III", content, start + 16 + 12 * group)
                yield from range(first + (glyph == 0), min(last, 0x10FFFF) + 1)


def _segments(content: bytes, start: int) -> Iterator[int]:
    count = struct.unpack_from(">H", content, start + 6)[0] // 2
    ends, starts, deltas, offsets = (
        struct.unpack_from(f">{count}H", content, start + 14 + 2 * count * part + (2 if part else 0))
        for part in range(4)
    )
    place = start + 16 + 6 * count
    for index, (end, first, delta, offset) in enumerate(zip(ends, starts, deltas, offsets, strict=True)):
        for char in range(first, min(end, 0xFFFE) + 1):
            glyph = char + delta
            if offset:
                glyph = struct.unpack_from(">H", content, place + 2 * index + offset + 2 * (char - first))[0]
            if glyph & 0xFFFF:
                yield char
