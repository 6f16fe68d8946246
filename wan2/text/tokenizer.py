"""A prompt as the text encoder was trained to see it: cleaned, then cut into tokens. Knows nothing of tensors.

Source: Wan2.1/2.2, HuggingfaceTokenizer with `clean="whitespace"`. The tokenizer is read from its `tokenizer.json` by
the tokenizers library, so no heavy import stands between a prompt and its token count.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.parsing import Reading, without_stderr
from wan2.text.rules import checked_rules

if TYPE_CHECKING:
    import tokenizers

# Text positions of the transformer, `</s>` and padding included: a constant the trained weights expect.
TEXT_LENGTH = 512
# Eight times what fills them; it bounds the time that a text takes.
MAX_CHARACTERS = 20_000
TOKENIZER_FILE = "tokenizer.json"
END = "</s>"
# What a tokenizer is tried with before it is trusted: blanks, capitals, tags, scripts, a character beyond 16 bits.
PROBE = "[one caption] A gull & a boat, 灯台 é 👩‍🚀. <unk> </s> [a cut]"


def clean_prompt(text: str) -> str:
    """Mend broken encodings, unescape HTML twice, and make every run of white space one blank."""
    import ftfy

    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", mended).strip()


@dataclass(frozen=True)
class TokenizedPrompt:
    """A cleaned prompt and its tokens, `</s>` included, never padded.

    `offsets` are the half-open character ranges of the tokens in `text`; that of `</s>` is (0, 0).
    """

    text: str
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]

    @property
    def num_tokens(self) -> int:
        """Number of tokens, `</s>` included."""
        return len(self.ids)

    def truncated(self, limit: int = TEXT_LENGTH) -> TokenizedPrompt:
        """At most `limit` tokens; the last one stays `</s>`."""
        if self.num_tokens <= limit:
            return self
        return replace(
            self,
            ids=self.ids[: limit - 1] + self.ids[-1:],
            offsets=self.offsets[: limit - 1] + self.offsets[-1:],
        )


class Tokenizer:
    """The tokenizer of one folder; see `load_tokenizer`. `place` is its name in messages, `highest_id` its last."""

    def __init__(self, rules: tokenizers.Tokenizer, place: str, highest_id: int) -> None:
        self.place, self.highest_id = place, highest_id
        self._rules = rules
        self._rules.no_truncation()
        self._rules.no_padding()

    def tokenize(self, text: str, name: str = "`prompt`") -> TokenizedPrompt:
        """Clean a prompt and cut it into tokens.

        Raises:
            InputError: a text that is too long or cannot be cleaned (the message begins with `name`), or a tokenizer
                that fails, or whose tokens do not lie in the text or do not end in `</s>`.
        """
        check_length(text, name)
        with Reading(name):
            cleaned = clean_prompt(text)
        with Reading(self.place), without_stderr():
            encoding = self._rules.encode(cleaned)
        ids, offsets = tuple(encoding.ids), tuple(encoding.offsets)
        if not ids or encoding.tokens[-1] != END or offsets[-1] != (0, 0) or max(ids) > self.highest_id:
            raise InputError(f"{self.place}: does not end a text in {END}, as that of UMT5 does")
        starts = [start for start, _ in offsets[:-1]]
        if starts != sorted(starts) or any(not start <= end <= len(cleaned) for start, end in offsets):
            raise InputError(f"{self.place}: its tokens do not lie in the text one after the other")
        return TokenizedPrompt(cleaned, ids, offsets)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder laid out like `google/umt5-xxl`.

    Raises:
        InputError: the folder has no `tokenizer.json`, or that file is no tokenizer, or one that does not do what that
            of UMT5 does: no `</s>` after the text, no place in the text for every token.
    """
    path = Path(folder) / TOKENIZER_FILE
    if not path.is_file():
        raise InputError(f"`tokenizer` {folder}: must be a folder that holds {TOKENIZER_FILE}")
    stat = path.stat()
    return _read_tokenizer(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1)
def _read_tokenizer(path: Path, size: int, modified: int) -> Tokenizer:  # noqa: ARG001 - what tells files apart
    """A tokenizer takes a second to read, and every video of a list asks for it several times."""
    import tokenizers

    place = f"`tokenizer` {path}"
    with Reading(place):
        text, highest = checked_rules(path, place)
        try:
            with without_stderr():
                rules = tokenizers.Tokenizer.from_str(text)
        except Exception as error:
            if type(error) is not Exception:  # which is all the library has to say
                raise
            raise InputError(f"{place}: is not a tokenizer that can be read ({str(error)[:200]})") from error
        tokenizer = Tokenizer(rules, place, highest)
        tokenizer.tokenize(PROBE)
        return tokenizer


def check_length(text: str, name: str) -> None:
    """Refuse a text far beyond what the text encoder reads: cleaning it alone would take long.

    Raises:
        InputError: more than `MAX_CHARACTERS`; the message begins with `name`.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{name}: has {len(text)} characters; must be at most {MAX_CHARACTERS}")


def check_vocabulary(tokenizer: Tokenizer, rows: int, place: str) -> None:
    """Refuse a text encoder that has no embedding for some token.

    Args:
        tokenizer: what makes the tokens.
        rows: how many embeddings the encoder has.
        place: the encoder's setting and file.

    Raises:
        InputError: with both numbers.
    """
    if rows <= tokenizer.highest_id:
        raise InputError(
            f"{place}: has {rows} embeddings; the tokens of {tokenizer.place} go up to {tokenizer.highest_id}"
        )
