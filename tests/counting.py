"""Counts what a run opens and loads, in this process. Knows nothing of what a run does with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import wan2.run.models
import wan2.weights.header
import wan2.weights.mapped
from wan2.text.tokenizer import Tokenizer


class Counts:
    """How often each file's header was read, each file mapped, each text tokenised, each model loaded."""

    def __init__(self) -> None:
        self.headers: Counter[Path] = Counter()
        self.mapped: Counter[Path] = Counter()
        self.texts: Counter[str] = Counter()
        self.loaded: Counter[str] = Counter()


@contextmanager
def counted() -> Iterator[Counts]:
    """A block in which everything is counted."""
    counts = Counts()

    def by(counter: Counter[Any], key: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **given: Any) -> Any:  # noqa: ANN401
            counter[key(*args)] += 1
            return real(*args, **given)

        return wrapped

    header, mapped, models = wan2.weights.header, wan2.weights.mapped, wan2.run.models
    with (
        patch.object(header, "_read_one", by(counts.headers, lambda path: path, header._read_one)),
        patch.object(mapped, "_map_file", by(counts.mapped, lambda path: path, mapped._map_file)),
        patch.object(Tokenizer, "tokenize", by(counts.texts, lambda _, text, *__: text, Tokenizer.tokenize)),
        patch.object(
            models,
            "load_transformer",
            by(counts.loaded, lambda file, *_: file.path.stem, models.load_transformer),
        ),
        patch("wan2.run.vae.load_vae", by(counts.loaded, lambda *_: "vae", _load_vae())),
        patch("wan2.run.text_encoder.load_text_encoder", by(counts.loaded, lambda *_: "t5", _load_text_encoder())),
    ):
        yield counts


def _load_vae() -> Callable[..., Any]:
    from wan2.run.vae import load_vae

    return load_vae


def _load_text_encoder() -> Callable[..., Any]:
    from wan2.run.text_encoder import load_text_encoder

    return load_text_encoder
