"""Encoded texts kept by content: another seed of the same prompt needs no text encoder. Knows nothing of encoders."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError
from wan2.files import Busy, whole_file
from wan2.text.tokenizer import TokenizedPrompt
from wan2.weights.header import read_header

if TYPE_CHECKING:
    from torch import Tensor

FOLDER, ENDING, TENSOR = "texts", ".text.safetensors", "context"
# Some 250 prompts of full length at the published width, in bfloat16.
MAX_BYTES = 1 << 30


class KeptTexts:
    """A folder of encoded texts, bounded in size: the ones that were not used for longest go first.

    Args:
        folder: where they lie; None keeps nothing.
        origin: everything besides a text that decides its encoding: the encoder's fingerprint, machine, versions.
    """

    def __init__(self, folder: Path | None, origin: Mapping[str, Any]) -> None:
        self.folder = folder / FOLDER if folder else None
        self._origin = json.dumps(origin, sort_keys=True)

    def get(self, prompt: TokenizedPrompt) -> Tensor | None:
        """The encoding [tokens, dim] of a prompt on the CPU, if it was kept."""
        path = self._path(prompt)
        if path is None or not path.is_file():
            return None
        from safetensors.torch import load_file

        try:
            shape = read_header(path).shapes.get(TENSOR, ())
            if len(shape) != 2 or shape[0] != prompt.num_tokens:
                return None
            kept = load_file(path)[TENSOR]
            os.utime(path)
        except (InputError, OSError):
            return None
        return kept

    def put(self, prompt: TokenizedPrompt, context: Tensor) -> None:
        """Keep the encoding [tokens, dim] of a prompt. What cannot be written is not kept."""
        path = self._path(prompt)
        if path is None:
            return
        from safetensors.torch import save

        with suppress(OSError, Busy):
            path.parent.mkdir(parents=True, exist_ok=True)
            content = save({TENSOR: context.cpu().contiguous()})
            self._make_room(path.parent, len(content))
            with whole_file(path) as part:
                part.write_bytes(content)

    def _path(self, prompt: TokenizedPrompt) -> Path | None:
        if self.folder is None:
            return None
        digest = hashlib.sha256(f"{self._origin}{list(prompt.ids)}".encode()).hexdigest()
        return self.folder / f"{digest[:32]}{ENDING}"

    @staticmethod
    def _make_room(folder: Path, size: int) -> None:
        kept = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob(f"*{ENDING}"))
        total = sum(size for _, size, _ in kept)
        for _, bytes_of_one, path in kept:
            if total + size <= MAX_BYTES:
                return
            path.unlink(missing_ok=True)
            total -= bytes_of_one
