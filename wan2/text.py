"""A prompt as the text encoder was trained to see it: cleaned, then cut into tokens. Knows nothing of tensors.

Source: Wan2.1/2.2, HuggingfaceTokenizer with `clean="whitespace"`. The tokenizer is read from its `tokenizer.json` by
the tokenizers library, so no heavy import stands between a prompt and its token count.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError

if TYPE_CHECKING:
    import tokenizers

# Text positions of the transformer, `</s>` and padding included: a constant the trained weights expect.
TEXT_LENGTH = 512
# Three times that of UMT5.
MAX_BYTES = 1 << 26
# Up to so many tokens of video for each position of the text, its keys and values are kept: they are over 1 % of the
# work then. For longer clips they are less, and the memory (21 MB a block and pass at the published size) is needed.
TOKENS_PER_POSITION = 16
TOKENIZER_FILE = "tokenizer.json"


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
    """The tokenizer of one folder; see `load_tokenizer`."""

    def __init__(self, rules: tokenizers.Tokenizer) -> None:
        self._rules = rules
        self._rules.no_truncation()
        self._rules.no_padding()

    def tokenize(self, text: str) -> TokenizedPrompt:
        """Clean a prompt and cut it into tokens."""
        cleaned = clean_prompt(text)
        encoding = self._rules.encode(cleaned)
        return TokenizedPrompt(cleaned, tuple(encoding.ids), tuple(encoding.offsets))


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder laid out like `google/umt5-xxl`.

    Raises:
        InputError: the folder has no `tokenizer.json`, or that file is no tokenizer.
    """
    path = Path(folder) / TOKENIZER_FILE
    if not path.is_file():
        raise InputError(f"--tokenizer {folder}: must be a folder that holds {TOKENIZER_FILE}")
    stat = path.stat()
    return _read_tokenizer(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1)
def _read_tokenizer(path: Path, size: int, modified: int) -> Tokenizer:  # noqa: ARG001 - what tells files apart
    """A tokenizer takes a second to read, and every video of a list asks for it several times."""
    import tokenizers

    try:
        return Tokenizer(tokenizers.Tokenizer.from_str(_checked(path)))
    except Exception as error:
        if type(error) is not Exception:  # which is all the library has to say
            raise
        raise InputError(f"--tokenizer {path}: is not a tokenizer that can be read ({str(error)[:200]})") from error


def _checked(path: Path) -> str:
    """The file's text, once it is known to be a tokenizer: the library tells its errors apart from no other."""
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"--tokenizer {path}: is larger than {MAX_BYTES} bytes")
    try:
        text = path.read_text(encoding="utf-8")
        rules = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--tokenizer {path}: must be JSON ({error})") from error
    if not isinstance(rules, dict) or not isinstance(rules.get("model"), dict) or "type" not in rules["model"]:
        raise InputError(f"--tokenizer {path}: must be a tokenizer with a model of a known type")
    if unknown := _tokens_of_nothing(rules.get("post_processor")):
        raise InputError(f"--tokenizer {path}: its post_processor adds tokens it does not define: {unknown[0]!a:.80}")
    return text


def _tokens_of_nothing(processor: Any) -> list[str]:  # noqa: ANN401 - whatever the file holds
    """The special tokens that a template of the file adds and does not define, at which the library would panic."""
    if not isinstance(processor, dict):
        return []
    if isinstance(inner := processor.get("processors"), list):
        return [token for one in inner for token in _tokens_of_nothing(one)]
    templates = [template for kind in ("single", "pair") if isinstance(template := processor.get(kind), list)]
    pieces = [piece.get("SpecialToken") for template in templates for piece in template if isinstance(piece, dict)]
    added = [piece["id"] for piece in pieces if isinstance(piece, dict) and isinstance(piece.get("id"), str)]
    defined = processor.get("special_tokens")
    return [token for token in added if not isinstance(defined, dict) or token not in defined]
