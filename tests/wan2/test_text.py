"""Cleaning and tokens against the original's counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.refused import refused
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt, Tokenizer, clean_prompt, load_tokenizer

DATA = Path(__file__).parents[1] / "data"
WINDOWS = json.loads((DATA / "text_windows.json").read_text())
END = 1


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(DATA / "tokenizer")


@pytest.mark.parametrize("case", WINDOWS, ids=range(len(WINDOWS)))
def test_number_of_tokens(tokenizer: Tokenizer, case: dict[str, Any]) -> None:
    prompt = tokenizer.tokenize(case["prompt"]).truncated()
    assert prompt.num_tokens == case["num_tokens"]
    assert prompt.ids[-1] == END


def test_offsets_cut_the_cleaned_text_without_a_gap(tokenizer: Tokenizer) -> None:
    prompt = tokenizer.tokenize("  [global caption]\n A &amp;amp; B   [per shot caption] C ")
    assert prompt.text == "[global caption] A & B [per shot caption] C"
    *inner, last = prompt.offsets
    assert last == (0, 0)
    assert "".join(prompt.text[a:b] for a, b in inner).replace(" ", "") == prompt.text.replace(" ", "")


def test_truncation_keeps_the_end_token_last(tokenizer: Tokenizer) -> None:
    whole = tokenizer.tokenize("a lighthouse " * 200)
    cut = whole.truncated()
    assert whole.num_tokens > TEXT_LENGTH == cut.num_tokens
    assert cut.ids == (*whole.ids[: TEXT_LENGTH - 1], END)
    assert cut.offsets == (*whole.offsets[: TEXT_LENGTH - 1], (0, 0))
    assert cut.truncated() is cut


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  a \t b\n\nc  ", "a b c"),
        ("&amp;lt;3", "<3"),
        ("caf\u00c3\u00a9", "caf\u00e9"),
        ("\u201cquoted\u201d", '"quoted"'),
        ("wide\u3000blank", "wide blank"),
        ("", ""),
    ],
)
def test_cleaning(raw: str, cleaned: str) -> None:
    assert clean_prompt(raw) == cleaned


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_cleaned_text_has_single_blanks_only(raw: str) -> None:
    words = clean_prompt(raw)
    assert words == " ".join(words.split())


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_offsets_stay_inside_the_text_and_in_order(raw: str) -> None:
    prompt: TokenizedPrompt = load_tokenizer(DATA / "tokenizer").tokenize(raw)
    *inner, _ = prompt.offsets
    assert len(prompt.offsets) == prompt.num_tokens
    assert all(0 <= a <= b <= len(prompt.text) for a, b in inner)
    assert inner == sorted(inner)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with refused(r"^--tokenizer .*: must be a folder that holds tokenizer.json$"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b"{}", b'{"model": {}}', b"\xff\xfe"])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with refused("--tokenizer .*tokenizer.json: must be"):
        load_tokenizer(tmp_path)


def test_counting_tokens_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from wan2.text.tokenizer import load_tokenizer;"
        f"load_tokenizer(Path({str(DATA / 'tokenizer')!r})).tokenize('a gull');"
        "print(sorted({'torch', 'transformers', 'diffusers', 'numpy'} & sys.modules.keys()))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
