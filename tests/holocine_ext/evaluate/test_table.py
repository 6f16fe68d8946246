"""The table on a terminal: it fits, whatever the folders are called."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holocine_ext.evaluate.result import Estimate, Row
from holocine_ext.evaluate.table import WIDTH, _width, render_table

ALL = Estimate(1.0, 0.893, 1.0, 32)


def row(name: str, captions: Estimate | None = ALL) -> Row:
    return Row(name, 32, {"SCA": ALL, "right number of cuts": ALL, "captions agree": captions})


def test_measures_are_lines_and_folders_columns():
    lines = render_table([row("out/full"), row("out/sparse", None)]).splitlines()
    assert lines[:5] == [
        "                      out/full            out/sparse",
        "videos                32                  32",
        "SCA                   1.000 0.893-1.000   1.000 0.893-1.000",
        "right number of cuts  1.000 0.893-1.000   1.000 0.893-1.000",
        "captions agree        1.000 0.893-1.000   -",
    ]
    assert "95 % interval" in lines[6]


def test_a_fourth_folder_begins_another_block():
    text = render_table([row(name) for name in "abcd"])
    assert [line.split() for line in text.splitlines() if line.startswith("   ")] == [["a", "b", "c"], ["d"]]


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_it_fits_80_columns(names: list[str]):
    lines = render_table([row(name) for name in names]).splitlines()
    assert max(map(_width, lines)) <= WIDTH


def test_a_long_name_goes_on_below():
    name = "/data/一个很长的文件夹名字/evaluation/of/a/run"
    lines = render_table([row(name)]).splitlines()
    above = lines[: next(i for i, line in enumerate(lines) if line.startswith("videos"))]
    assert len(above) > 1 and "".join(line.strip() for line in above) == name


def test_a_name_goes_on_after_a_whole_word():
    above = render_table([row("nano's own drawings (ceiling)")]).splitlines()[:2]
    assert [line.strip() for line in above] == ["nano's own", "drawings (ceiling)"]
