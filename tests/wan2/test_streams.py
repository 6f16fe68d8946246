"""Streams that are closed, full, gone or of another encoding: nothing is raised, and what can be written is."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wan2.cli.streams import Steady, steady

ROOT = Path(__file__).parents[2]
NAMES = ("plain", "é", "夜景", "a\udcff")


def stream(encoding: str) -> tuple[Steady, io.BytesIO]:
    written = io.BytesIO()
    return Steady(io.TextIOWrapper(written, encoding=encoding, write_through=True)), written


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp936", "utf-8", "utf-16"])
def test_any_text_goes_into_any_encoding(encoding: str):
    out, written = stream(encoding)
    text = "é 夜景 \ud800\U0001f600\n"
    assert out.write(text) == len(text)
    out.flush()
    back = written.getvalue().decode(encoding)
    assert back.encode("ascii", "backslashreplace").decode() == text.encode("ascii", "backslashreplace").decode()
    assert out.failed is None


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp936", "utf-8"])
def test_a_path_is_in_the_encoding_or_the_bytes_that_name_the_file(encoding: str):
    for name in NAMES:
        out, written = stream(encoding)
        out.write_path(Path(name))
        try:
            expected = name.encode(encoding)
        except UnicodeEncodeError:
            expected = os.fsencode(name)
        assert written.getvalue() == expected + b"\n"


def test_a_path_among_wide_characters_is_one_of_them():
    out, written = stream("utf-16")
    for name in NAMES:
        out.write_path(Path(name))
    assert written.getvalue().decode("utf-16") == "plain\né\n夜景\na\\udcff\n"


def test_a_path_is_one_line_and_on_a_terminal_a_safe_one():
    out, written = stream("utf-8")
    out.write_path(Path("a\x1b[2J\nb\rc"))
    assert written.getvalue() == b"a\x1b[2J\\nb\\rc\n"
    out, written = stream("utf-8")
    out.isatty = lambda: True  # type: ignore[method-assign]
    out.write_path(Path("a\x1b[2J\nb\u202ec"))
    assert written.getvalue() == b"a\\x1b[2J\\x0ab\\u202ec\n"


def test_a_pipe_without_a_reader_raises_nothing_and_leaves_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        out = Steady(gone)
        out.write("lost\n")
        out.write_path(Path("lost"))
        assert isinstance(out.failed, BrokenPipeError)
        out.settle()
        gone.write("to nobody")
        gone.flush()


def test_a_stream_that_a_library_closed_raises_nothing():
    inner = io.StringIO()
    inner.close()
    out = Steady(inner)
    assert out.write("lost") == 4 and not out.isatty()
    out.settle()
    assert isinstance(out.failed, ValueError)


def test_what_libraries_print_is_not_among_the_files(capsys: pytest.CaptureFixture[str]):
    before = sys.stdout, sys.stderr
    with steady() as out:
        sys.stdout.write("chatter\n")
        out.write_path(Path("a.mp4"))
    assert (sys.stdout, sys.stderr) == before
    assert tuple(capsys.readouterr()) == ("a.mp4\n", "chatter\n")


# In a real interpreter: which descriptor a file gets, and what C libraries do besides.
PROGRAM = """
import os, sys
from contextlib import suppress
from wan2.cli.streams import steady
with steady() as out:
    number = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
    out.write("out")
    sys.stderr.write("err" * 10000)
    for descriptor in (1, 2):
        with suppress(OSError):
            os.write(descriptor, b"from a C library")
    os.write(number, b"content" if number > 2 else b"in the way")
"""


@pytest.mark.parametrize("redirects", ["2>&-", ">&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"])
def test_streams_closed_or_full_from_the_start(redirects: str, tmp_path: Path):
    words = ["sh", "-c", f'exec "$@" {redirects}', "sh", sys.executable, "-c", PROGRAM, str(tmp_path / "file")]
    done = subprocess.run(words, capture_output=True, cwd=ROOT, check=False)
    assert (done.returncode, b"Exception ignored" in done.stderr) == (0, False)
    assert (tmp_path / "file").read_text() == "content"
