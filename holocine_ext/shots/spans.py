"""Which text every shot may see: from character offsets to token spans to ranges of text positions. Integers only.

The rules are those the weights were trained with, including two that look like slips and must stay: a token that
touches two captions belongs to the first, and every window shows one token of what follows it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from holocine_ext.shots.layout import Range
from holocine_ext.story.prompt import CUT_TAG, GLOBAL_TAG, SHOTS_TAG
from wan2.errors import InputError
from wan2.text.tokenizer import TokenizedPrompt

SHOWN = 60
# Characters of a token of UMT5 in English prose, for an estimate where no tokenizer is there.
CHARACTERS_A_TOKEN = 4.2


@dataclass(frozen=True)
class TextSpans:
    """Token spans of a prompt, half-open. Captions that own no token of the text are absent."""

    global_span: Range | None
    shots: tuple[Range, ...]


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return max(1, round(len(text) / CHARACTERS_A_TOKEN))


def text_spans(tokenized: TokenizedPrompt) -> TextSpans:
    """Find the tokens of the global caption and of every shot caption.

    Characters: the global caption runs from its tag to `[per shot caption]`; the first shot from there through the
    first `[shot cut]`, every later one through its own closing `[shot cut]`. Offsets are those of the cleaned text.
    """
    global_chars, shot_chars = _character_spans(tokenized.text)
    chars = ([global_chars] if global_chars else []) + shot_chars
    owned: list[list[int]] = [[] for _ in chars]
    ends = [b for _, b in chars]
    for token, (start, end) in enumerate(tokenized.offsets):
        first = bisect_right(ends, start)  # the captions lie in order and apart
        if first < len(chars) and end > chars[first][0]:
            owned[first].append(token)
    spans = [(tokens[0], tokens[-1] + 1) if tokens else None for tokens in owned]
    global_span = spans.pop(0) if global_chars else None
    return TextSpans(global_span, tuple(span for span in spans if span))


def _character_spans(text: str) -> tuple[Range | None, list[Range]]:
    start, shots_at = text.find(GLOBAL_TAG), text.find(SHOTS_TAG)
    end = len(text) if shots_at < 0 else shots_at
    global_chars = (start, end) if 0 <= start < end else None
    if shots_at < 0:
        return global_chars, []
    edges = [shots_at]
    while (cut := text.find(CUT_TAG, edges[-1])) >= 0:
        edges.append(cut + len(CUT_TAG))
    return global_chars, list(zip(edges, [*edges[1:], len(text)], strict=True))


def allowed_key_ranges(spans: TextSpans, length: int) -> tuple[tuple[Range, ...], ...] | None:
    """For every shot the text positions it may see, of `length`; None when the text has no windows.

    A shot sees the global caption, its own caption, each with the one position that follows, and every position after
    the last window: the padding. Ranges are half-open, ascending and merged.
    """
    if spans.global_span is None:
        return None
    shared = _leak(spans.global_span)
    padding = (max(stop for _, stop in (spans.global_span, *spans.shots)) + 1, length)
    return tuple(_merge((shared, _leak(shot), padding), length) for shot in spans.shots)


def _leak(span: Range) -> Range:
    """The window of a span: the position after it is seen, too."""
    return span[0], span[1] + 1


def _merge(ranges: Iterable[Range], length: int) -> tuple[Range, ...]:
    """Ascending half-open ranges inside `length`, joined where they touch, without the empty ones."""
    merged: list[Range] = []
    for a, stop in sorted(ranges):
        b = min(stop, length)
        if a >= b:
            continue
        if merged and a <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(b, merged[-1][1]))
        else:
            merged.append((a, b))
    return tuple(merged)


def check_text_fits(tokenized: TokenizedPrompt, num_shots: int, name: str, length: int) -> TextSpans:
    """The spans of a prompt with shots, all of them inside the `length` tokens that the text encoder reads.

    Raises:
        InputError: the text runs past `length` tokens (which shots do, and their token counts), or cleaning it left
            another number of shots than `num_shots`.
    """
    spans = text_spans(tokenized)
    if len(spans.shots) != num_shots:
        raise InputError(f"{name}: after cleaning, the text has {len(spans.shots)} shots, not {num_shots}")
    if tokenized.num_tokens > length:
        past = [f"shot {i} ({b - a} tokens, {a} to {b})" for i, (a, b) in enumerate(spans.shots, 1) if b + 1 > length]
        more = f" and {len(past) - SHOWN} more" if len(past) > SHOWN else ""
        raise InputError(
            f"{name}: the prompt has {tokenized.num_tokens} tokens, the text encoder reads {length}; "
            f"past the end: {', '.join(past[:SHOWN])}{more}; shorten the captions"
        )
    return spans
