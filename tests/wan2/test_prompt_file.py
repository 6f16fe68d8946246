"""A file of prompts with settings on each line."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan2.errors import InputError
from wan2.prompt_file import Line, parse_line, read_lines


def test_blank_lines_and_remarks_are_passed_over(tmp_path: Path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffA gull\n\n# not this one\n  A cat --d 1  \n", encoding="utf-8")
    lines = read_lines(path)
    assert lines == [Line(path, 1, "A gull"), Line(path, 4, "A cat --d 1")]
    assert lines[1].place == f"--from_file {path}:4"


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
    ],
)
def test_refusals_name_the_line_the_setting_and_the_rule(line: str, message: str):
    with pytest.raises(InputError, match=message):
        parse_line(Line(Path("a.txt"), 3, line))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="--from_file .*absent.txt: no such file or directory"):
        read_lines(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"--from_file .*latin.txt: is not UTF-8 text \(byte 3\)"):
        read_lines(tmp_path / "latin.txt")
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    with pytest.raises(InputError, match="--from_file .*empty.txt: has no line that says anything"):
        read_lines(tmp_path / "empty.txt")
