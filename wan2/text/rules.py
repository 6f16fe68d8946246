"""Which rules a tokenizer's file may contain, and how many, checked before the library reads it. Tokenizes nothing.

Some files make the library panic, loop or allocate gigabytes. So only the kinds of rules are accepted that tokenizers
of the T5 family use, a few of each, and none that makes a text many times as long.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wan2.errors import InputError

# Twice that of UMT5: bytes, values, tokens and their characters. The library takes up to a kilobyte a character.
MAX_BYTES, MAX_VALUES, MAX_TOKENS, MAX_CHARACTERS = 1 << 25, 1 << 21, 1 << 19, 3 << 20
# Those of UMT5 have 16 characters, its normalizer two rules, and it adds 300 tokens.
LONGEST_TOKEN, MOST_RULES, MOST_ADDED, DEEPEST = 64, 16, 4096, 4
MODELS = ("Unigram", "BPE")
KINDS: dict[str, tuple[str, ...]] = {
    "normalizer": ("Precompiled", "Replace", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "Strip", "StripAccents"),
    "pre_tokenizer": ("Metaspace", "WhitespaceSplit", "Whitespace", "Punctuation", "Digits", "BertPreTokenizer"),
    "post_processor": ("TemplateProcessing",),
    "decoder": ("Metaspace", "Replace", "ByteFallback", "Fuse", "Strip", "WordPiece", "BPEDecoder", "ByteLevel"),
}
KINDS["normalizer"] += ("Prepend",)
# The parts that hold other parts, by the name of the field in which they do.
HOLDERS = ("normalizers", "pretokenizers", "processors", "decoders")
# With some patterns, some texts would take hours. Such patterns cannot be recognised, so only these two are allowed.
PATTERNS = (" {2,}", "\\s+")


def checked_rules(path: Path) -> tuple[str, int]:
    """The text of a tokenizer's file, and the highest id of its tokens.

    Raises:
        InputError: the file holds no tokenizer, or none like that of UMT5. The message names no file.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES} bytes")
    try:
        text = path.read_text(encoding="utf-8")
        if sum(map(text.count, "[{,")) > MAX_VALUES:
            raise InputError(f"has more than {MAX_VALUES} values")
        rules = json.loads(text)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"must be JSON ({str(error)[:100]})") from error
    if not isinstance(rules, dict) or not isinstance(rules.get("model"), dict) or "type" not in rules["model"]:
        raise InputError("must be a tokenizer with a model of a known type")
    for slot, kinds in KINDS.items():
        _check_slot(rules.get(slot), slot, kinds)
    if unknown := _tokens_of_nothing(rules.get("post_processor")):
        raise InputError(f"its post_processor adds tokens it does not define: {unknown[0]!a:.80}")
    added = _added(rules)
    vocabulary = _vocabulary(rules["model"])
    return text, max([*added.values(), *vocabulary.values()], default=0)


def _check_slot(part: object, slot: str, kinds: tuple[str, ...]) -> None:
    """Refuse rules of other kinds, too many rules, or a malformed one."""
    rules = list(_rules(part, f"its {slot}"))
    if len(rules) > MOST_RULES or sum(rule.get("type") == "Precompiled" for rule in rules) > 1:
        raise InputError(f"its {slot} has {len(rules)} rules; must be at most {MOST_RULES}, one Precompiled")
    for rule in rules:
        if rule.get("type") not in kinds:
            raise InputError(f"its {slot} has the type {rule.get('type')!a:.40}; must be one of {', '.join(kinds)}")
        if rule["type"] == "TemplateProcessing":
            _check_template(rule, f"its {slot}")
        if rule["type"] == "Precompiled":
            _check_charsmap(rule.get("precompiled_charsmap"), f"its {slot}")
        if rule["type"] in ("Replace", "Prepend"):
            _check_replacement(rule, f"its {slot}")


def _rules(part: object, name: str, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The rules of a part, one after the other."""
    if part is None:
        return
    if not isinstance(part, dict) or depth > DEEPEST:
        raise InputError(f"{name} must be a rule, or a few of them in a sequence")
    if part.get("type") != "Sequence":
        yield part
        return
    inner = [part[holder] for holder in HOLDERS if isinstance(part.get(holder), list)]
    if len(inner) != 1 or len(inner[0]) > MOST_RULES:
        raise InputError(f"{name} must be a rule, or at most {MOST_RULES} of them in a sequence")
    for one in inner[0]:
        yield from _rules(one, name, depth + 1)


def _check_replacement(rule: Mapping[str, Any], name: str) -> None:
    """Refuse a replacement that makes a text much longer, and patterns that could run very long."""
    pattern, content = rule.get("pattern"), rule.get("content", rule.get("prepend"))
    found = pattern if isinstance(pattern, dict) else {}
    regex = found.get("Regex")
    if regex is not None and regex not in PATTERNS:
        raise InputError(f"{name} has the pattern {regex!a:.60}; known are {', '.join(map(ascii, PATTERNS))}")
    length = max(len(found["String"]), 1) if isinstance(found.get("String"), str) else 1
    if not isinstance(content, str) or len(content) > length:
        raise InputError(f"{name} replaces a text by {content!a:.40}, which is no text or longer than what it replaces")


def _check_charsmap(encoded: object, name: str) -> None:
    """Refuse a table that replaces a character by a long text. The texts are at its end, each with a zero byte."""
    try:
        table = base64.b64decode(encoded if isinstance(encoded, str) else "", validate=True)
        texts = table[4 + struct.unpack_from("<I", table)[0] :]
    except (ValueError, struct.error) as error:
        raise InputError(f"{name} has a precompiled_charsmap that is none") from error
    if max(map(len, texts.split(b"\0"))) > LONGEST_TOKEN:
        raise InputError(f"{name} has a precompiled_charsmap with texts of more than {LONGEST_TOKEN} bytes")


def _check_template(rule: Mapping[str, Any], name: str) -> None:
    """Refuse a template that repeats the text, or adds many tokens to it."""
    single = rule.get("single")
    pieces = [piece for piece in single if isinstance(piece, dict)] if isinstance(single, list) else []
    if len(pieces) > MOST_RULES or sum("Sequence" in piece for piece in pieces) != 1:
        raise InputError(f"{name} must hold the text once, and at most {MOST_RULES} pieces")
    defined = rule.get("special_tokens")
    if isinstance(defined, dict) and len(json.dumps(defined)) > LONGEST_TOKEN * MOST_RULES:
        raise InputError(f"{name} defines more than a few tokens")


def _added(rules: Mapping[str, Any]) -> dict[str, int]:
    """The tokens that are added to the model's, and their ids."""
    added = rules.get("added_tokens") or []
    if not isinstance(added, list) or len(added) > MOST_ADDED:
        raise InputError(f"its added_tokens must be a list of at most {MOST_ADDED}")
    found = {}
    for token in added:
        content, number = (token.get("content"), token.get("id")) if isinstance(token, dict) else (None, None)
        if not isinstance(content, str) or not 0 < len(content) <= LONGEST_TOKEN or type(number) is not int:
            raise InputError(f"its added_tokens hold {token!a:.60}, which is no token of a known id")
        found[content] = number
    return found


def _vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    """The tokens of the model, and their ids."""
    if model["type"] not in MODELS:
        raise InputError(f"its model is of the type {model['type']!a:.40}; must be {' or '.join(MODELS)}")
    if model.get("dropout"):
        raise InputError("its model has a dropout, with which a text has other tokens every time")
    listed = model.get("vocab")
    if isinstance(listed, list) and model["type"] == "Unigram":
        found = {str(entry[0]): number for number, entry in enumerate(listed) if isinstance(entry, list) and entry}
    else:
        found = listed if isinstance(listed, dict) else {}
    if not 0 < len(found) <= MAX_TOKENS or not all(type(number) is int for number in found.values()):
        raise InputError(f"its vocab must be tokens with a number each, at most {MAX_TOKENS}")
    if max(map(len, found)) > LONGEST_TOKEN or sum(map(len, found)) > MAX_CHARACTERS:
        raise InputError(f"its vocab must be of at most {MAX_CHARACTERS} characters, and each token of {LONGEST_TOKEN}")
    return found


def _tokens_of_nothing(processor: Any) -> list[str]:  # noqa: ANN401 - whatever the file holds
    """The special tokens that a template adds but does not define: the library would panic."""
    if not isinstance(processor, dict):
        return []
    if isinstance(inner := processor.get("processors"), list):
        return [token for one in inner for token in _tokens_of_nothing(one)]
    templates = [template for kind in ("single", "pair") if isinstance(template := processor.get(kind), list)]
    pieces = [piece.get("SpecialToken") for template in templates for piece in template if isinstance(piece, dict)]
    added = [piece["id"] for piece in pieces if isinstance(piece, dict) and isinstance(piece.get("id"), str)]
    defined = processor.get("special_tokens")
    return [token for token in added if not isinstance(defined, dict) or token not in defined]
