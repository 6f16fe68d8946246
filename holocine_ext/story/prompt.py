"""The tagged text that HoloCine was trained on, made and read. Knows nothing of tokens or frames.

`[global caption] G [per shot caption] S1 [shot cut] S2 ...`, where G ends by saying how many shots there are.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

from holocine_ext.story.misspelt import NearTag, near_tags, numbered_parts
from wan2.errors import InputError
from wan2.text.tokenizer import MAX_CHARACTERS

GLOBAL_TAG = "[global caption]"
SHOTS_TAG = "[per shot caption]"
CUT_TAG = "[shot cut]"
COUNT_PHRASE = "This scene contains"

_TAGS = (GLOBAL_TAG, SHOTS_TAG, CUT_TAG)
_EXACT_TAG = re.compile("|".join(map(re.escape, _TAGS)))


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
    if found := near_tags(_fold(caption, name)):
        raise InputError(
            f"{name} {shorten(caption)}: holds the tag {_named(found[0])}; captions come without tags, they are added "
            "for you; words that are to be read in the picture go between quotes"
        )


def parse_prompt(raw: str, name: str = "--prompt") -> tuple[str | None, tuple[str, ...]]:
    """Take a raw prompt apart: (global caption, shot captions), or (None, (text,)) when it holds no tag at all.

    Raises:
        InputError: an empty prompt, a misspelt tag, tags missing, repeated or out of order, text before the first tag,
            or nothing between two tags; the message begins with `name`.
    """
    _check_text(raw, name)
    found = near_tags(_fold(raw, name))
    if not any(tag.whole for tag in found):
        return None, (raw.strip(),)
    tags = _EXACT_TAG.findall(raw)
    if tags != [tag.text for tag in found]:
        odd = next((tag for tag in found if tag.text not in _TAGS), found[0])
        raise InputError(
            f"{name} {_named(odd)}: a misspelt tag; the tags are exactly {GLOBAL_TAG}, {SHOTS_TAG} and {CUT_TAG}"
        )
    _check_order(tags, name)
    before, *sections = _EXACT_TAG.split(raw)
    if before.strip():
        raise InputError(f"{name} {shorten(before)}: text before {GLOBAL_TAG}, which must come first")
    for number, (tag, section) in enumerate(zip(tags, sections, strict=True), 1):
        if not section.strip():
            raise InputError(f"{name}: nothing after {tag} (tag {number}); every tag is followed by text")
    global_caption, *captions = (section.strip() for section in sections)
    return global_caption, tuple(captions)


def untagged_parts(raw: str) -> tuple[str, ...]:
    """The first places where a prompt without tags seems to begin a shot; none where it does not, or has tags."""
    return () if _EXACT_TAG.search(raw) else numbered_parts(_fold(raw, "--prompt"))


def _check_order(tags: Sequence[str], name: str) -> None:
    """InputError unless the tags are one global caption, one per shot caption, then any number of cuts."""
    for tag in (GLOBAL_TAG, SHOTS_TAG):
        if (count := tags.count(tag)) != 1:
            raise InputError(f"{name}: {tag} occurs {count} times; a prompt with tags holds it exactly once")
    if tuple(tags[:2]) != (GLOBAL_TAG, SHOTS_TAG):
        raise InputError(f"{name}: {tags[0]} then {tags[1]}; a prompt begins {GLOBAL_TAG} ... {SHOTS_TAG} ...")


def _check_text(text: str, name: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{name} {shorten(text[:MAX_CHARACTERS])}: is longer than {MAX_CHARACTERS} characters")
    if not text.strip():
        raise InputError(f"{name}: is empty; say in words what is to be seen")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise InputError(f"{name} {shorten(text)}: is not valid Unicode text")


def _fold(text: str, name: str) -> str:
    """The text as cleaning may leave it (entities, wide forms): a tag spelt around the check would still be a tag."""
    try:
        plain = html.unescape(html.unescape(text))
    except ValueError as error:  # Python reads no number of thousands of digits
        raise InputError(f"{name} {shorten(text)}: holds an entity &#...; that stands for no character") from error
    return unicodedata.normalize("NFKC", plain)


def _named(tag: NearTag) -> str:
    """A tag for a message, on one line."""
    return " ".join(tag.text.split()) if tag.text.isprintable() else ascii(tag.text)


def shorten(text: str, width: int = 48) -> str:
    """A text for a message: its beginning, on one line and in quotes."""
    words = " ".join(text.split()).encode("utf-8", "replace").decode()
    return repr(words if len(words) <= width else f"{words[: width - 3]}...")
