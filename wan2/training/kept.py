"""Tensors kept by what they were made of: a clip is encoded once, however often it is trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.errors import InputError
from wan2.files import whole_file
from wan2.weights.header import read_header

if TYPE_CHECKING:
    from torch import Tensor

ENDING, TENSOR = ".safetensors", "kept"


class KeptTensors:
    """A folder of tensors.

    Args:
        folder: where they lie.
        origin: everything besides the content that decides a tensor: fingerprint of the model, machine, versions.
    """

    def __init__(self, folder: Path, origin: Mapping[str, Any]) -> None:
        self.folder, self._origin = folder, json.dumps(origin, sort_keys=True)

    def has(self, content: str) -> bool:
        """Whether the tensor of a content is there, whole."""
        try:
            return TENSOR in read_header(self._path(content)).entries
        except InputError:
            return False

    def get(self, content: str) -> Tensor:
        """The tensor of a content, on the CPU. Raises `OSError` when it is gone."""
        from safetensors.torch import load_file

        return load_file(self._path(content))[TENSOR]

    def put(self, content: str, tensor: Tensor) -> None:
        """Keep the tensor of a content. Raises `OSError`."""
        from safetensors.torch import save

        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self._path(content)) as part:
            part.write_bytes(save({TENSOR: tensor.cpu().contiguous()}))

    def _path(self, content: str) -> Path:
        digest = hashlib.sha256(f"{self._origin}{content}".encode()).hexdigest()
        return self.folder / f"{digest[:32]}{ENDING}"
