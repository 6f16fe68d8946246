"""Texts made safe to show: nothing that a terminal obeys or nobody sees, and no line beyond its length."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan2.shown import LONGEST, MOST_LINES, as_lines, command, escaped, one_line, shortened

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
ANY = st.text(st.characters(exclude_categories=()))


def is_safe(line: str) -> bool:
    return not any(unicodedata.category(char) in UNSEEN for char in line)


@given(ANY)
def test_any_text_becomes_one_safe_line(text: str):
    line = one_line(text)
    assert is_safe(line) and len(line) <= LONGEST and len(line.splitlines()) <= 1
    assert one_line(line) == line


@given(st.lists(ANY.filter(lambda text: "\n" not in text)))
def test_lines_stay_lines(lines: list[str]):
    shown = as_lines("\n".join(lines)).split("\n")
    assert len(shown) == max(1, len(lines)) and all(map(is_safe, shown))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 夜景 😀", "plain é 夜景 😀"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\x9b2J\x7f", "\\u009b2J\\x7f"),
        ("gnp.\u202e\u2066a", "gnp.\\u202e\\u2066a"),
        ("a\u200b\ufeff\u00adb", "a\\u200b\\ufeff\\u00adb"),
        ("\udcffx\ud800", "\\xffx\\ud800"),
        ("\U000e0041\ufe00\u3164", "\\U000e0041\\ufe00\\u3164"),
    ],
)
def test_what_is_escaped_and_how(text: str, shown: str):
    assert escaped(text) == shown


def test_long_texts_keep_both_ends():
    text = "a" * 10**6 + "end"
    assert len(shortened(text)) == LONGEST and shortened(text).startswith("aaa") and shortened(text).endswith("aend")
    assert shortened("a" * LONGEST) == "a" * LONGEST
    assert len(as_lines("x\n" * 10**5).split("\n")) == MOST_LINES + 1
    assert len(one_line("\x1b" * 10**6)) == LONGEST


@pytest.mark.skipif(sys.platform == "win32", reason="for bash")
def test_a_command_line_is_safe_to_show_and_still_means_the_same():
    words = ["a b", "c'd", "\x1b[31m\\n'", "e\nf", "\u202eg", "夜"]
    line = command(["printf", "%s\\0", *words])
    assert is_safe(line)
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode().split("\0")[:-1] == words
