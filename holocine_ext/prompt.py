"""The tagged text that HoloCine was trained on, made and read. Knows nothing of tokens or frames.

`[global caption] G [per shot caption] S1 [shot cut] S2 ...`, where G ends by saying how many shots there are.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

from wan2.errors import InputError

GLOBAL_TAG = "[global caption]"
SHOTS_TAG = "[per shot caption]"
CUT_TAG = "[shot cut]"
COUNT_PHRASE = "This scene contains"

_NEAR_TAG = re.compile(r"\[[\s_-]*(?:global|per[\s_-]*shot|shot)[\s_-]*(?:captions?|cuts?)[\s_-]*\]", re.IGNORECASE)


def build_prompt(global_caption: str, shot_captions: Sequence[str]) -> str:
    """The trained form of a scene: captions between tags, with the number of shots appended unless G states it."""
    text = global_caption.strip()
    if COUNT_PHRASE not in text:
        text = f"{text} {COUNT_PHRASE} {len(shot_captions)} shots."
    shots = f" {CUT_TAG} ".join(caption.strip() for caption in shot_captions)
    return f"{GLOBAL_TAG} {text} {SHOTS_TAG} {shots}"


def check_caption(caption: str, name: str) -> None:
    """InputError naming `name` when a caption is empty, is not text, or holds one of the tags (or nearly one)."""
    _check_text(caption, name)
    if found := _NEAR_TAG.search(_fold(caption)):
        raise InputError(
            f"{name} {_shorten(caption)}: holds the tag {found[0]}; captions come without tags, they are added for you"
        )


def parse_prompt(raw: str, name: str = "--prompt") -> tuple[str | None, tuple[str, ...]]:
    """Take a raw prompt apart: (global caption, shot captions), or (None, (text,)) when it holds no tag at all.

    Raises:
        InputError: an empty prompt, a misspelt tag, tags missing, repeated or out of order, text before the first tag,
            or nothing between two tags; the message begins with `name`.
    """
    _check_text(raw, name)
    tags = _NEAR_TAG.findall(_fold(raw))
    if not tags:
        return None, (raw.strip(),)
    exact = [tag for tag in _NEAR_TAG.findall(raw) if tag in (GLOBAL_TAG, SHOTS_TAG, CUT_TAG)]
    if exact != tags:
        odd = next((tag for tag in tags if tag not in (GLOBAL_TAG, SHOTS_TAG, CUT_TAG)), tags[0])
        raise InputError(f"{name} {odd}: a misspelt tag; the tags are exactly {GLOBAL_TAG}, {SHOTS_TAG} and {CUT_TAG}")
    _check_order(tags, name)
    before, *sections = re.split("|".join(map(re.escape, (GLOBAL_TAG, SHOTS_TAG, CUT_TAG))), raw)
    if before.strip():
        raise InputError(f"{name} {_shorten(before)}: text before {GLOBAL_TAG}, which must come first")
    for tag, section in zip(tags, sections, strict=True):
        if not section.strip():
            raise InputError(f"{name}: nothing after {tag} (tag {tags.index(tag) + 1}); every tag is followed by text")
    global_caption, *captions = (section.strip() for section in sections)
    return global_caption, tuple(captions)


def _check_order(tags: Sequence[str], name: str) -> None:
    """InputError unless the tags are one global caption, one per shot caption, then any number of cuts."""
    for tag in (GLOBAL_TAG, SHOTS_TAG):
        if (count := tags.count(tag)) != 1:
            raise InputError(f"{name}: {tag} occurs {count} times; a prompt with tags holds it exactly once")
    if tuple(tags[:2]) != (GLOBAL_TAG, SHOTS_TAG):
        raise InputError(f"{name}: {tags[0]} then {tags[1]}; a prompt begins {GLOBAL_TAG} ... {SHOTS_TAG} ...")


def _check_text(text: str, name: str) -> None:
    if not text.strip():
        raise InputError(f"{name}: is empty; say in words what is to be seen")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(f"{name} {_shorten(text)}: is not valid Unicode text")


def _fold(text: str) -> str:
    """The text as cleaning may leave it (entities, wide forms): a tag spelt around the check would still be a tag."""
    return unicodedata.normalize("NFKC", html.unescape(html.unescape(text)))


def _shorten(text: str, width: int = 48) -> str:
    words = " ".join(text.split()).encode("utf-8", "replace").decode()
    return repr(words if len(words) <= width else f"{words[: width - 3]}...")
