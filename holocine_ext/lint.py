"""What in a scene is allowed but likely to disappoint: one small rule each. Reads nothing, decides nothing.

A line about a shot begins `shot 3 `, so that a page can show it beside the words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from holocine_ext.presets import DEFAULT_MODEL, Trained
from holocine_ext.request import SceneRequest
from holocine_ext.shots.spans import estimated_tokens, text_spans
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt

# How a shot is framed, by the words for it; the longer ones first.
SIZES = {
    "extreme close-up": r"extreme close[- ]?ups?|macro",
    "medium close-up": r"medium close[- ]?ups?",
    "close-up": r"close[- ]?ups?|close shots?|near view|tight shots?",
    "medium wide": r"medium (?:wide|long|full)",
    "medium": r"medium|mid[- ]?shots?|waist[- ]up",
    "full": r"full shots?|full[- ]body",
    "extreme wide": r"extreme (?:wide|long)|establishing",
    "wide": r"wide|long shots?|distant view",
}
# What else makes a cut plain to see: from where the camera looks, and how light it is.
ANGLES = {
    "low": r"low[- ]angle",
    "high": r"high[- ]angle",
    "above": r"overhead|top[- ]down|bird'?s[- ]eye|aerial|drone",
    "shoulder": r"over[- ]the[- ]shoulder",
    "eyes": r"point of view|pov",
    "behind": r"from behind|rear view",
    "side": r"profile|side view|from the side",
    "tilted": r"dutch",
}
LIGHTS = {"dark": r"night|dark|moon|midnight|dusk", "light": r"day|daylight|noon|sun|morning"}
PRONOUN = re.compile(r"\b(?:she|he|they|her|hers|his|him|their|them)\b", re.IGNORECASE)
# Who a pronoun may stand for: somebody who is tagged or named with an article, but no word of the camera.
SOMEBODY = re.compile(
    r"\[[^\]]+\]|\b(?:an?|the|two|three|some|another|every)\s+"
    r"(?!(?:shot|view|angle|camera|close|wide|medium|long|full|frame|scene)\b)\w+",
    re.IGNORECASE,
)
# Words that point to another shot, unless the same sentence says before what is done a second time.
ELSEWHERE = re.compile(r"\b(?:again|once more|as before|like before|previously|previous shot)\b", re.IGNORECASE)
REPEATED = ("again", "once more")
SENTENCE = re.compile(r"[^.!?]+")
ONCE_BEFORE = re.compile(r",|\b(?:and|then)\b", re.IGNORECASE)
QUOTED = re.compile(r"[\"“][^\"”]*[\"”]")
# A word of more pieces than this is spelled in letters: the text encoder never saw it.
MOST_PIECES = 2
LARGER = 1.05
MOST_WORDS = 6


@dataclass(frozen=True)
class Looked:
    """What the rules look at.

    Attributes:
        captions: of the shots.
        shared: tokens of what all shots share. counts: those of each caption.
        spelled: words of each caption that the text encoder has to spell, if it is the miniature's.
        size: width and height in pixels.
        trained: what the weights were trained on.
    """

    captions: tuple[str, ...]
    shared: int
    counts: tuple[int, ...]
    spelled: tuple[tuple[str, ...], ...]
    size: tuple[int, int]
    trained: Trained

    @property
    def spoken(self) -> list[str]:
        """The captions without what stands between quotes: words to be read in the picture."""
        return [QUOTED.sub("", caption) for caption in self.captions]


def advice(asked: SceneRequest, tokens: TokenizedPrompt | None) -> tuple[str, ...]:
    """What is likely to disappoint, a line each; tokens: of the prompt, None where no tokenizer is there."""
    if asked.making is None or asked.making.scene.storyboard.global_caption is None:
        return ()
    looked = look_at(asked, tokens, asked.making.preset.trained)
    return tuple(line for rule in RULES for line in rule(looked))


def look_at(asked: SceneRequest, tokens: TokenizedPrompt | None, trained: Trained) -> Looked:
    """What the rules look at."""
    counts: list[int]
    spelled: tuple[tuple[str, ...], ...] = ()
    if tokens is None:
        counts = [estimated_tokens(caption) for caption in asked.captions]
        shared = estimated_tokens(asked.base.prompt) - sum(counts)
    else:
        spans = text_spans(tokens)
        counts = [stop - first for first, stop in spans.shots]
        shared = spans.global_span[1] - spans.global_span[0] if spans.global_span else 0
        if asked.making and asked.making.preset.name != DEFAULT_MODEL:
            spelled = tuple(spelled_words(tokens, *span) for span in spans.shots)
    return Looked(asked.captions, shared, tuple(counts), spelled, (asked.base.width, asked.base.height), trained)


def spelled_words(tokens: TokenizedPrompt, first: int, stop: int) -> tuple[str, ...]:
    """The words between two tokens that are made of many pieces, in their order."""
    pieces = [edges for edges in tokens.offsets[first:stop] if edges[1] > edges[0]]
    if not pieces:
        return ()
    found = []
    for word in re.finditer(r"[^\W\d_]+", tokens.text[: pieces[-1][1]]):
        parts = sum(start < word.end() and word.start() < end for start, end in pieces)
        if word.start() >= pieces[0][0] and parts > MOST_PIECES:
            found.append(word[0])
    return tuple(dict.fromkeys(found))


def same_framing(looked: Looked) -> Iterator[str]:
    """Neighbours of one size, angle and light: the cut looks like a jump."""
    for number, (before, after) in enumerate(pairwise(looked.spoken), 2):
        size = _first(SIZES, after)
        if size and [_first(words, before) for words in FRAMING] == [_first(words, after) for words in FRAMING]:
            yield f"shot {number} is framed as shot {number - 1} ({size}), which looks like a jump"


def nobody_named(looked: Looked) -> Iterator[str]:
    """A pronoun for somebody whom the caption does not name: the shot reads no other caption."""
    for number, caption in enumerate(looked.spoken, 1):
        if (pronoun := PRONOUN.search(caption)) and not SOMEBODY.search(caption[: pronoun.start()]):
            yield f"shot {number} says {pronoun[0]!r} and names nobody before; it reads its own caption only"


def elsewhere(looked: Looked) -> Iterator[str]:
    """A word that points to another shot."""
    for number, caption in enumerate(looked.spoken, 1):
        found = [word for sentence in SENTENCE.findall(caption) if (word := _pointing(sentence))]
        if found:
            yield f"shot {number} says {found[0]!r}, but reads no other caption; say what is seen"


def _pointing(sentence: str) -> str:
    """What in a sentence points to another shot; `again` does not where the sentence says what came before."""
    word = ELSEWHERE.search(sentence)
    if word is None or (word[0].lower() in REPEATED and ONCE_BEFORE.search(sentence[: word.start()])):
        return ""
    return word[0]


def beyond_share(looked: Looked) -> Iterator[str]:
    """A caption that takes more of the text than the shots have each."""
    share = (TEXT_LENGTH - looked.shared) // len(looked.captions)
    for number, count in enumerate(looked.counts, 1):
        if count > share:
            yield f"shot {number} takes {count} tokens; its share of {TEXT_LENGTH} is {share}"


def beyond_size(looked: Looked) -> Iterator[str]:
    """A picture that is larger than those of the training."""
    (width, height), trained = looked.size, looked.trained
    if width * height > LARGER * trained.width * trained.height:
        yield f"{width}x{height} pixels: the weights were trained on {trained.width}x{trained.height}"


def unknown_words(looked: Looked) -> Iterator[str]:
    """Words that the miniature never saw."""
    for number, words in enumerate(looked.spelled, 1):
        if words:
            more = ", …" if len(words) > MOST_WORDS else ""
            yield f"shot {number} says what the miniature does not know: {', '.join(words[:MOST_WORDS])}{more}"


RULES: tuple[Callable[[Looked], Iterator[str]], ...] = (
    same_framing,
    nobody_named,
    elsewhere,
    beyond_share,
    beyond_size,
    unknown_words,
)
FRAMING = (SIZES, ANGLES, LIGHTS)


def _first(words: dict[str, str], caption: str) -> str | None:
    """Which of some things a caption says first."""
    every = "|".join(rf"(?P<_{number}>\b(?:{pattern})\b)" for number, pattern in enumerate(words.values()))
    found = re.search(every, caption, re.IGNORECASE)
    return list(words)[int((found.lastgroup or "_0")[1:])] if found else None
