"""The page: complete in itself, and safe whatever people wrote."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from holocine_ext.evaluate.asked import Asked
from holocine_ext.evaluate.cuts import score_cuts
from holocine_ext.evaluate.report import render
from holocine_ext.evaluate.result import ShotNote, VideoResult, estimate, share, summarise

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/a.png onerror=alert(1)>\"'&{{}}</svg></details>"
VOID = {"meta", "img", "br", "rect", "line"}


class Reader(HTMLParser):
    """Collects tags and attributes, and holds every end against its start."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def result(row: str = "a", found: tuple[int, ...] = (9, 30), text: str = "A cat.", **values: float) -> VideoResult:
    asked = Asked(row, Path(f"{text[:20].replace('/', '')}.mp4"), text, (text, text, text), (9, 21), None, "")
    cuts = {"transnetv2": score_cuts((9, 21), found, 33), "pyscenedetect": score_cuts((9, 21), (), 33)}
    note = ShotNote((("light", "day", text),))
    return VideoResult(asked, 33, 8.0, (64, 64), cuts, dict(values), (note,), sheet=b"\xff\xd8\xff")


def page(*results: VideoResult, note: str = "") -> tuple[str, Reader]:
    text = render(summarise(results), results, [note])
    reader = Reader()
    reader.feed(text)
    reader.close()
    return text, reader


def test_the_page_opens_offline_and_loads_nothing():
    text, reader = page(result(), result(found=(9, 21)))
    assert reader.open == []
    assert not {"script", "link", "iframe", "a", "object", "form"} & set(reader.tags)
    addresses = [value for name, value in reader.attributes if name in ("src", "href", "data", "action")]
    assert addresses and all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert not re.search(r"https?://|//[a-z]|url\(|@import", text)
    assert "default-src 'none'" in text


def test_what_people_wrote_stays_text():
    _, reader = page(result(row=HOSTILE, text=HOSTILE), note=HOSTILE)
    assert reader.open == []
    assert "script" not in reader.tags and not [name for name, _ in reader.attributes if name.startswith("on")]
    assert reader.tags.count("img") == 1
    assert reader.text.count(HOSTILE) >= 5


def test_the_page_tells_what_was_missed_and_the_worst_comes_first():
    text, reader = page(result(text="good", found=(9, 21)), result(text="bad"))
    assert text.index("bad.mp4") < text.index("good.mp4")
    assert "E_penalty" in reader.text and "day asked, bad seen" in reader.text
    assert "SCA (pyscenedetect)" in reader.text


def test_rows_and_columns():
    rows = summarise([result("a", caption=1.0), result("a", caption=0.5), result("b", found=(9, 21))])
    assert [(row.name, row.videos) for row in rows] == [("a", 2), ("b", 1)]
    assert list(rows[0].columns) == ["SCA", "right number of cuts", "SCA (pyscenedetect)", "captions agree"]
    captions = rows[0].columns["captions agree"]
    assert captions is not None and (captions.mean, captions.count) == (0.75, 2)
    assert rows[1].columns["captions agree"] is None


def test_intervals():
    assert estimate([]) is None
    same = estimate([0.5] * 10)
    assert same is not None and (same.mean, same.low, same.high) == (0.5, 0.5, 0.5)
    values = estimate([0.0, 1.0] * 50)
    assert values is not None and values == estimate([0.0, 1.0] * 50)
    assert 0.38 < values.low < 0.45 and 0.55 < values.high < 0.62
    every = share([True] * 100)
    assert (every.mean, every.high) == (1.0, pytest.approx(1.0))
    assert every.low == pytest.approx(0.963, abs=1e-3)  # Wilson's interval, 100 of 100
