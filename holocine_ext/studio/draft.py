"""A first draft of a board from a few words, by the language model that the command line named. Starts no render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from holocine_ext.write.endpoint import Endpoint
from holocine_ext.write.writer import Brief, empty_board, written


@dataclass(frozen=True)
class Writer:
    """A language model: the address of its server, up to `/v1`, and its name there."""

    endpoint: str
    model: str

    def __post_init__(self) -> None:
        Endpoint(self.endpoint, self.model)  # which refuses what is no address

    def draft(self, brief: str, shots: int) -> dict[str, Any]:
        """A board of so many shots.

        Raises:
            InputError: nothing to write about, the server does not answer, or what it answers is no storyboard.
        """
        board = empty_board(shots, ())
        return written(Endpoint(self.endpoint, self.model), Brief(brief, board), _pass_over)


def _pass_over(_: str) -> None:
    """The page shows by itself what is too long."""
