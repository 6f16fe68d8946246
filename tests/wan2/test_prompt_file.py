"""A file of prompts with settings on each line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.refused import refused
from wan2.request.prompt_file import Line, parse_line, read_lines

ROOT = Path(__file__).parents[2]


def test_blank_lines_and_remarks_are_passed_over(tmp_path: Path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffA gull\n\n# not this one\n  A cat --d 1  \n", encoding="utf-8")
    lines = read_lines(path)
    assert lines == [Line(path, 1, "A gull"), Line(path, 4, "A cat --d 1")]
    assert lines[1].place == f"`from_file` {path}:4"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_where_editors_end_them(end: str, tmp_path: Path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(end.join(["A gull", "", "# no", "A cat --d 1", ""]).encode())
    assert read_lines(path) == [Line(path, 1, "A gull"), Line(path, 4, "A cat --d 1")]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e", "\u3000", "\t"])
def test_other_separators_are_white_space(separator: str, tmp_path: Path):
    path = tmp_path / "prompts.txt"
    path.write_text(f"{separator}A gull.{separator}Dusk{separator}--d{separator}9{separator}\nA cat", encoding="utf-8")
    gull, cat = read_lines(path)
    assert parse_line(gull) == {"prompt": f"A gull.{separator}Dusk", "seed": 9}
    assert (gull.number, cat) == (1, Line(path, 2, "A cat"))


# One process for each, whose memory the system bounds; it answers with its line, or with what it read.
BOUNDED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
from wan2.errors import InputError
from wan2.request.prompt_file import parse_line, read_lines
try:
    found = [parse_line(line) for line in read_lines(Path(sys.argv[1]))]
    print(len(found), {name: value if len(str(value)) < 99 else "long" for name, value in found[0].items()})
except InputError as error:
    print(str(error).rpartition("/")[2])
"""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n" * (1 << 24), "a.txt: has more than 10000 lines; make several files of it"),
        (b"\r\n" * (1 << 23), "a.txt: has more than 10000 lines; make several files of it"),
        (b"a\n" * 10_001, "a.txt: has more than 10000 lines; make several files of it"),
        (b"a\n" * 10_000, "10000 {'prompt': 'a'}"),
        (b"A cat\n" + b" " * 8_000_000 + b"\n", "1 {'prompt': 'A cat'}"),
        (b"A cat" + b" " * 8_000_000 + b"--d 1\n", "a.txt:1: is longer than 65536 characters"),
        (b"A cat" + b" " * 65_000 + b"--d 1", "1 {'prompt': 'A cat', 'seed': 1}"),
        (b"a" + b" -" * 32_000, "1 {'prompt': 'long'}"),
        ("é".encode() * (1 << 23), "a.txt:1: is longer than 65536 characters"),
        (b"#" * (1 << 24), "a.txt: has no line that says anything"),
        (b"a" * ((1 << 24) + 1), "a.txt: is larger than 16777216 bytes"),
    ],
    ids=range(11),
)
def test_every_size_is_answered_in_bounds(content: bytes, said: str, tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(content)
    command = [sys.executable, "-c", BOUNDED, str(tmp_path / "a.txt")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said


def test_every_setting_lands_under_its_name():
    line = "A cat, wide -- and slow --w 832 --h 480 --f 81 --d 42 --s 20 --g 3.5 --gh 4 --fs 8 --n blurry, dark"
    assert parse_line(Line(Path("a.txt"), 3, line)) == {
        "prompt": "A cat, wide -- and slow",
        "width": 832,
        "height": 480,
        "num_frames": 81,
        "seed": 42,
        "infer_steps": 20,
        "guidance_scale": 3.5,
        "guidance_scale_high_noise": 4.0,
        "flow_shift": 8.0,
        "negative_prompt": "blurry, dark",
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("A cat --z 3", "--from_file a.txt:3 --z: not a setting of a line; those are --w, --h"),
        ("A cat --d", "--from_file a.txt:3 --d: has no value"),
        ("A cat --d x", "--from_file a.txt:3 --d x: must be a whole number"),
        ("A cat --g high", "--from_file a.txt:3 --g high: must be a number"),
        ("A \0cat", "--from_file a.txt:3: holds a NUL character"),
        ("\ufeff# A cat", "--from_file a.txt:3: holds a byte order mark, which only the beginning"),
    ],
)
def test_refusals_name_the_line_the_setting_and_the_rule(line: str, message: str):
    with refused(message):
        parse_line(Line(Path("a.txt"), 3, line))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    with refused("--from_file .*absent.txt: no such file or directory"):
        read_lines(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with refused(r"--from_file .*latin.txt: is not UTF-8 text \(byte 3\)"):
        read_lines(tmp_path / "latin.txt")
    (tmp_path / "half.txt").write_bytes(b"A\n\xed\xa0\x80")
    with refused(r"--from_file .*half.txt: is not UTF-8 text \(byte 2\)"):
        read_lines(tmp_path / "half.txt")
    with refused("--from_file .*: file name too long"):
        read_lines(tmp_path / ("a" * 5000))
    with refused("--from_file .*: is not a file"):
        read_lines(tmp_path)
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    with refused("--from_file .*empty.txt: has no line that says anything"):
        read_lines(tmp_path / "empty.txt")
