"""What a person wrote who meant a tag: `[shot cut 2]`, `[cut]`, `[Shot 1] ... [Shot 2]`. Text only; decides nothing.

A bracket is taken for a tag when all its words are words of tags, numbers, and the few that people add ("next", "to"):
`[cut here]` on a parcel or `[open]` on a door stay words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

_SQUARE_OPEN, _SQUARE_CLOSE = "[【〔〖〘〚⟦❲", "]】〕〗〙〛⟧❳"
_OTHER_OPEN, _OTHER_CLOSE = "({<「『〈《⟨⟪«‹", ")}>」』〉》⟩⟫»›"
_OPEN, _CLOSE = re.escape(_SQUARE_OPEN + _OTHER_OPEN), re.escape(_SQUARE_CLOSE + _OTHER_CLOSE)
_LONGEST = 48
_BRACKET = re.compile(rf"[{_OPEN}]([^{_OPEN}{_CLOSE}]{{0,{_LONGEST}}})[{_CLOSE}]")
_TAG_WORDS = r"(?:global[\s_-]*captions?|per[\s_-]*shots?[\s_-]*captions?|shots?[\s_-]*cuts?)"
_HALF = re.compile(
    rf"[{re.escape(_SQUARE_OPEN)}][\s_-]*{_TAG_WORDS}\b|\b{_TAG_WORDS}[\s_-]*[{re.escape(_SQUARE_CLOSE)}]",
    re.IGNORECASE,
)
# Letters only, without blanks: a whole tag, and what may be meant for a part of one.
_WHOLE = re.compile(r"(?:global|(?:per)?shots?)captions?|shots?cuts?|cuts?shots?")
_PART = re.compile(r"(?:per)?(?:(?:global|shots?|captions?|cuts?|scenes?)(?:per)?)+")
_FOREIGN_PART = re.compile(
    r"(?:镜头|鏡頭|分镜|切镜|ショット|カット|샷|컷|кадр|склеика)(?:切换)?[一二三四五六七八九十]*"
)
_ADDED = frozenset(("no", "nr", "number", "next", "new", "to", "start", "begin", "end"))
_ADDED |= {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"}
_ADDED |= {"first", "second", "third", "fourth", "fifth"}
_TAGS = ("global caption", "per shot caption", "shot cut")
_ALIKE = 0.8

_WORD_NUMBERS = "one|two|three|four|five|six|seven|eight|nine|ten"
_LABELS = "shots?|scenes?|cuts?|clips?|takes?|planos?|tomas?|escenas?|cenas?|plans?|scènes?|inquadratur[ae]"
_LABELS += "|einstellung|szene|кадр|сцена|план"
_NUMBERED = (
    rf"\b(?:{_LABELS})\s*(?:n[or]\.?|number|#|№)?\s*(\d{{1,3}}|(?:{_WORD_NUMBERS}|[ivx]{{1,4}}|[a-h](?=\s*[]:.)—–-]))\b)",
    r"\b(first|second|third|1st|2nd|3rd)\s+(?:shot|scene|cut|clip)\b",
    r"(?:镜头|鏡頭|分镜|场景|ショット|カット|シーン|샷|컷|장면|씬)\s*#?([0-9一二三四五六七八九十]{1,3})",
    r"第([0-9一二三四五六七八九十]{1,3})(?:个|個|つの)?(?:镜头|鏡頭|场景|幕|ショット|カット|シーン)",
    r"(?:^|[\n.;:!?。])\s*\(?(\d{1,2})[.)]\s",
    r"(?<![\d:])(\d{1,2}:\d\d)\s*(?:-|–|—|to)\s*\d{1,2}:\d\d",
    r"(?<![\d.])(\d{1,3}(?:\.\d)?)\s*s?\s*(?:-|–|—|to)\s*\d{1,3}(?:\.\d)?\s*s(?:ec(?:onds?)?)?\b",
)
_NUMBERS = tuple(re.compile(pattern, re.IGNORECASE) for pattern in _NUMBERED)
_CUT_TO = re.compile(r"\bcut\s+to\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class NearTag:
    """What reads as a tag. `whole` when it is surely one; else it is one only among others: `[cut]`."""

    text: str
    whole: bool


def near_tags(text: str) -> list[NearTag]:
    """Every bracket of a text that is a tag or nearly one, in order; the text as `prompt.fold` leaves it."""
    found = dict(_brackets(text))
    ends = {start + len(tag.text) for start, tag in found.items()}
    for half in _HALF.finditer(text):
        if half.start() not in found and half.end() not in ends:
            found[half.start()] = NearTag(half[0], whole=True)
    return [found[start] for start in sorted(found)]


def numbered_parts(text: str) -> tuple[str, ...]:
    """The first two places where a text without tags seems to begin a shot: numbers, times or `[cut]`; or none.

    Text as `prompt.fold` leaves it.
    """
    lines = "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    for pattern in _NUMBERS:
        first: dict[str, str] = {}
        for match in pattern.finditer(lines):
            first.setdefault(match[1].casefold(), match[0].strip(" \t\n.;:!?"))
            if len(first) == 2:
                return tuple(first.values())
    cuts = [tag.text for tag in near_tags(text)] + _CUT_TO.findall(lines)
    return tuple(cuts[:2])


def _brackets(text: str) -> Iterator[tuple[int, NearTag]]:
    for bracket in _BRACKET.finditer(text):
        square = bracket[0][0] in _SQUARE_OPEN and bracket[0][-1] in _SQUARE_CLOSE
        whole, part = _read(bracket[1])
        if whole or (square and part):
            yield bracket.start(), NearTag(bracket[0], whole)


@lru_cache(maxsize=1024)
def _read(content: str) -> tuple[bool, bool]:
    """Whether what stands in a bracket is a whole tag, and whether it may be part of one or a misspelt one."""
    parts = unicodedata.normalize("NFKD", content.casefold())
    plain = unicodedata.normalize("NFC", "".join(c for c in parts if unicodedata.category(c) not in ("Mn", "Cf")))
    words = [word for word in re.findall(r"[^\W\d_]+", plain) if word not in _ADDED and not _is_number(word)]
    letters = "".join(words)
    if _WHOLE.fullmatch(letters):
        return True, True
    return False, bool(_PART.fullmatch(letters) or _FOREIGN_PART.fullmatch(letters)) or _is_misspelt(" ".join(words))


def _is_number(word: str) -> bool:
    """A letter or a Roman number: `[shot B]`, `[shot iv]`. A letter of a script without letters is a word."""
    return (len(word) == 1 and word.isascii()) or bool(re.fullmatch("[ivx]+", word))


def _is_misspelt(words: str) -> bool:
    """Whether the words are those of a tag but for a letter or two. Those of a "shot put" begin otherwise."""
    for tag in _TAGS:
        initials = [word[0] for word in words.split()] == [word[0] for word in tag.split()]
        alike = SequenceMatcher(None, words, tag)
        if (initials or not words.isascii()) and alike.real_quick_ratio() >= _ALIKE and alike.ratio() >= _ALIKE:
            return True
    return False
