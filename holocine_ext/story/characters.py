"""Named characters: who `[character1]` is, said once in the global caption. Text only.

A storyboard lists its characters by name; captions call them `[mara]` or by number, `[character1]`, in the order of the
list. The model was trained on numbered tags that the global caption introduces, so names become numbers, and a sentence
`[character1] is ...` joins the global caption for everyone it does not describe already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from holocine_ext.story.prompt import COUNT_PHRASE, check_caption
from wan2.errors import InputError

MOST_CHARACTERS = 100
_NAME = re.compile(r"[^\W\d_]\w*(?:[ -]\w+)*")
_REFERENCE = re.compile(r"\[(" + _NAME.pattern + r")\]")
_NUMBERED = re.compile(r"character(\d+)", re.IGNORECASE)
_DESCRIBED = re.compile(r"\[character([0-9]+)\](?: is|,) (?:an?|the) ", re.IGNORECASE)
_SENTENCE_END = (".", "!", "?", "…", "。", "！", "？", '"', "”")


@dataclass(frozen=True)
class Character:
    """One of the cast. The n-th of a list answers to `[name]` and `[character<n>]`."""

    name: str
    description: str


def check_cast(cast: Sequence[Character], place: str) -> None:
    """InputError unless names are words, differ, agree with their numbers, and descriptions are plain captions.

    Also for more than `MOST_CHARACTERS`: the text encoder reads 512 tokens.
    """
    if len(cast) > MOST_CHARACTERS:
        raise InputError(f"{place}: {len(cast)} of them; must be at most {MOST_CHARACTERS}")
    seen: set[str] = set()
    for number, character in enumerate(cast, 1):
        name = f"{place} {character.name}"
        if not _NAME.fullmatch(character.name):
            raise InputError(f"{name}: a character's name is made of letters and digits and begins with a letter")
        if character.name.casefold() in seen:
            raise InputError(f"{name}: listed twice (capitals do not count)")
        seen.add(character.name.casefold())
        numbered = _NUMBERED.fullmatch(character.name)
        if numbered and numbered[1].lstrip("0") != str(number):
            raise InputError(f"{name}: stands at place {number}, where captions would call it [character{number}]")
        check_caption(f"[{character.name}]", name)
        check_caption(character.description, name)


def number_references(text: str, cast: Sequence[Character], name: str, global_caption: str) -> str:
    """The text with `[mara]` written `[character1]`. Without a cast, brackets are left alone.

    Args:
        text: a caption.
        cast: the characters, in order.
        name: what a message begins with.
        global_caption: may introduce further numbered characters itself, which every caption may then call.

    Raises:
        InputError: a one-word bracket that names nobody.
    """
    if not cast:
        return text
    tags = {f"character{i}": f"[character{i}]" for i in range(1, len(cast) + 1)}
    tags |= _introduced(global_caption)
    tags |= {character.name.casefold(): f"[character{i}]" for i, character in enumerate(cast, 1)}

    def numbered(match: re.Match[str]) -> str:
        tag = tags.get(match[1].casefold())
        if tag is None and " " not in match[1]:
            known = ", ".join(f"[{character.name}]" for character in cast)
            raise InputError(f"{name} {match[0]}: names nobody; the characters are {known}")
        return tag or match[0]

    return _REFERENCE.sub(numbered, text)


@lru_cache(maxsize=1)
def _introduced(global_caption: str) -> dict[str, str]:
    """The numbered characters of a global caption, which every caption of a scene asks for anew."""
    return {tag.casefold(): f"[{tag}]" for tag in _REFERENCE.findall(global_caption) if _NUMBERED.fullmatch(tag)}


def introduce(global_caption: str, cast: Sequence[Character], name: str) -> str:
    """The global caption, references numbered, with a sentence for every character it does not describe already.

    "Describes" means that it says `[character1] is a ...` or `[character1], a ...` (or an, the). The sentences stand
    at the end, but before "This scene contains N shots." where the caption says that itself.
    """
    text = number_references(global_caption.strip(), cast, name, global_caption)
    described = set(_DESCRIBED.findall(text))
    sentences = [
        f"[character{i}] is {_clause(number_references(character.description, cast, name, global_caption))}"
        for i, character in enumerate(cast, 1)
        if str(i) not in described
    ]
    if not sentences:
        return text
    at = text.find(COUNT_PHRASE)
    head, tail = (text, "") if at < 0 else (text[:at].rstrip(), text[at:])
    if head and not head.endswith(_SENTENCE_END):
        head += "."
    return " ".join(part for part in (head, *sentences, tail) if part)


def named_again(text: str, cast: Sequence[Character]) -> str:
    """A text for people: `[character1]` is called by its name, where it has one."""
    names = {f"[character{number}]": character.name for number, character in enumerate(cast, 1)}
    return _REFERENCE.sub(lambda match: names.get(match[0], match[0]), text)


def uncalled(cast: Sequence[Character], captions: Sequence[str]) -> tuple[str, ...]:
    """Names of the characters that no shot caption (references numbered) calls."""
    text = " ".join(captions)
    return tuple(character.name for i, character in enumerate(cast, 1) if f"[character{i}]" not in text)


def strangers(global_caption: str, captions: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Number of the shot and tag, where a caption calls a character whom the global caption does not introduce.

    That is `[character<n>]`, or what looks like a misspelling of one who is introduced (`[charcter1]`). Other words in
    brackets may be anything: a sign that reads `[open]` is nobody.
    """
    known = {tag.casefold() for tag in _REFERENCE.findall(global_caption) if _NUMBERED.fullmatch(tag)}
    for number, caption in enumerate(captions, 1):
        for tag in dict.fromkeys(_REFERENCE.findall(caption)):
            name = tag.casefold()
            misspelt = known and get_close_matches(name.rstrip("0123456789 "), ["character"], cutoff=0.8)
            if name not in known and (_NUMBERED.fullmatch(tag) or misspelt):
                yield number, tag


def _clause(description: str) -> str:
    """A description as the end of a sentence: its first article in lower case, one full stop."""
    text = " ".join(description.split())
    first, _, rest = text.partition(" ")
    text = f"{first.lower()} {rest}" if first in ("A", "An", "The") and rest else text
    return text if text.endswith(_SENTENCE_END) else f"{text}."
