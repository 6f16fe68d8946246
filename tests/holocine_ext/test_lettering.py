"""Letters on the contact sheet: every one a font has is drawn, the others are named, and no text is too much."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from holocine_ext.pictures import faces
from holocine_ext.pictures.faces import OWN_FONT, clusters, drawable, font_of, font_warnings, unknown_scripts
from holocine_ext.pictures.lettering import ELLIPSIS, Text, text_width

ROOT = Path(__file__).parents[2]
EVERYWHERE = "éüçñß–—“”‘’„…•€£¥©°ŁódźŠkodaœŒÅøğışŞțăệữẞΑλφаБьЯשלוםمرحبا→×"


@pytest.fixture
def no_system_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that has the program and no font."""
    monkeypatch.setattr(faces, "_system_fonts", lambda: ())
    faces.font_of_char.cache_clear()
    yield
    faces.font_of_char.cache_clear()


def pixels(text: str, width: int = 400, most_lines: int = 9) -> np.ndarray:
    picture = Image.new("L", (width + 40, 400), 255)
    Text(text, 15, width, most_lines).draw(ImageDraw.Draw(picture), 20, 20, "black")
    return np.asarray(picture)


def test_what_a_font_has_is_what_its_table_says() -> None:
    """Held against FreeType, which draws its box for what a font lacks."""
    font = ImageFont.truetype(str(OWN_FONT), 24, layout_engine=ImageFont.Layout.BASIC)
    box = bytes(font.getmask("\U0010fffd"))
    found = faces._characters(OWN_FONT)
    assert len(found) > 5000
    for code in (*range(0x21, 0x3000), 0x65E5, 0x1F600, 0x1F3AC):
        assert (bytes(font.getmask(chr(code))) != box) == (code in found), hex(code)


@pytest.mark.usefixtures("no_system_fonts")
def test_letters_with_accents_are_there_on_every_machine() -> None:
    assert font_of(EVERYWHERE) == OWN_FONT
    assert unknown_scripts([EVERYWHERE]) == ()
    box = pixels("\U0010fffd")
    drawn = [pixels(char) for char in EVERYWHERE]
    assert not any((one == box).all() for one in drawn)


@pytest.mark.usefixtures("no_system_fonts")
def test_one_warning_names_the_scripts_that_no_font_has() -> None:
    (warning,) = font_warnings(["A café", "灯塔 and ธรรมชาติ", "नमस्ते", "한국", "\ue000"])
    assert "Chinese (塔), Devanagari (त), Hangul (국), Private (U+E000), Thai (ช)" in warning
    assert font_warnings(["A café – naïve", "e\u0301", "a\u200db"]) == ()
    assert len(font_warnings([chr(code) for code in range(0x1000, 0x20000, 7)])[0]) < 300


def test_a_script_of_the_system_is_found_by_what_its_font_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("broken.ttf", "empty.ttf"):
        (tmp_path / name).write_bytes(OWN_FONT.read_bytes()[:99] if name == "broken.ttf" else b"")
    (tmp_path / "sans.ttf").write_bytes(OWN_FONT.read_bytes())
    fonts = (tmp_path / "broken.ttf", tmp_path / "empty.ttf", tmp_path / "absent.ttf", tmp_path / "sans.ttf")
    monkeypatch.setattr(faces, "_fonts", lambda: iter(fonts))
    assert font_of("é") == tmp_path / "sans.ttf"
    assert font_of("日") is None


def test_marks_stay_with_their_letters() -> None:
    assert list(clusters("e\u0301a👨\u200d👩x❤\ufe0f👍🏽")) == ["e\u0301", "a", "👨\u200d👩", "x", "❤\ufe0f", "👍🏽"]
    text = Text("e\u0301" * 300, 15, 100, 99)
    assert "".join(text.lines) == "e\u0301" * 300
    assert not any(line[0] == "\u0301" for line in text.lines)


def test_what_cannot_be_drawn_is_one_sign() -> None:
    assert drawable("a\x01\x85\x1b[31m\ud800\u202eb\u2028c\n d") == "a\ufffd \ufffd[31m\ufffdb c d"


def test_lines_hold_the_text_and_keep_to_the_width() -> None:
    for text in ("A gull lands on the rail. " * 20, "W" * 500, "灯塔 turns " * 30, "a\u0301 " * 90):
        wrapped = Text(text, 15, 120, 999)
        assert "".join(wrapped.lines).replace(" ", "") == text.replace(" ", "")
        assert max(text_width(line, 15) for line in wrapped.lines) <= 120
        short = Text(text, 15, 120, 3)
        assert short.lines[:2] == wrapped.lines[:2]
        assert len(short.lines) == 3
        assert short.lines[-1].endswith(ELLIPSIS)
        assert text_width(short.lines[-1], 15) <= 120


def test_a_text_to_the_left_ends_at_the_right() -> None:
    for text, to_left in (("שלום", True), ("مرحبا abc", True), ("abc שלום", False)):
        columns = np.flatnonzero((pixels(text) < 128).any(0))
        assert (columns.min() > 200) == to_left


def test_every_character_can_be_drawn() -> None:
    for start in range(0, 0x20000, 0x800):
        text = " ".join(chr(code) for code in range(start, start + 0x800) if unicodedata.category(chr(code)) != "Cn")
        pixels(text)


# In a process whose time and memory the system bounds.
BOUNDED = """
import resource
import numpy as np
from holocine_ext.shots.layout import ShotLayout
from holocine_ext.pictures.sheet import ContactSheet
captions = ["x" * 40_000, "\\x01" * 40_000, "\\x01x" * 20_000, "word " * 8000, "\\u0301" * 40_000]
captions += ["日" * 40_000, " " * 40_000]
sheet = ContactSheet(ShotLayout(29, (5, 9, 13, 17, 21, 25), 4), 8, captions, "y" * 40_000)
long = ContactSheet(ShotLayout(8001, tuple(range(5, 8001, 4)), 4), 8, ["word " * 40] * 2000)
wide = ContactSheet(ShotLayout(5, (), 4), 8, ["a"])
resource.setrlimit(resource.RLIMIT_CPU, (15, 15))
for index in range(29):
    sheet(index, np.zeros((480, 832, 3), np.uint8))
for index in range(8001):
    long(index, np.zeros((32, 32, 3), np.uint8))
for index in range(5):
    wide(index, np.zeros((16, 8192, 3), np.uint8))
print([one.image().size[1] < 40_000 for one in (sheet, long, wide)])
"""


def test_no_text_and_no_number_of_rows_is_too_much() -> None:
    done = subprocess.run([sys.executable, "-c", BOUNDED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, True, True]"


def test_fonts_are_asked_without_a_library() -> None:
    code = (
        "import sys, holocine_ext.pictures.faces as f; f.font_warnings(['é 灯'])\n"
        "assert not {'torch', 'numpy', 'PIL'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
