"""Latents that are held while others are made. Knows nothing of where they come from or of who needs them.

A held frame stands on the straight path from its noise to what it is; the transformer sees it there and shapes the
other frames by it. Sources: Lugmayr et al., "RePaint", 2022, for frames that are held to the end; Meng et al.,
"SDEdit", 2021, for those that are held only while there is much noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, eq=False)
class Held:
    """Clean latents, the frames that they fill, and how they are held.

    Attributes:
        latents: what the frames are, fp32 [1, 16, n, h, w].
        noise: that of the run that made them, likewise.
        frames: the n latent frames that they fill, each once.
        until: for each of them the noise level above which it is held; at 0 it is held to the end.
        share: how much of a step's noise the transformer sees in frames that are held to the end: 1 all, 0 none.

    Raises:
        ValueError: parts that do not fit each other.
    """

    latents: Tensor
    noise: Tensor
    frames: tuple[int, ...]
    until: tuple[float, ...]
    share: float = 1.0

    def __post_init__(self) -> None:
        counts = {self.latents.shape[2], self.noise.shape[2], len(set(self.frames)), len(self.until)}
        if self.latents.shape != self.noise.shape or counts != {len(self.frames)}:
            raise ValueError(f"held latents of {list(self.latents.shape)} for {len(self.frames)} frames")

    def to(self, device: torch.device | str) -> Held:
        """The same on a device."""
        return replace(self, latents=self.latents.to(device), noise=self.noise.to(device))

    def place(self, latents: Tensor, sigma: float) -> Tensor:
        """Latents [1, 16, F, h, w] with every frame that is held at this noise level on its path."""
        held = [place for place, until in enumerate(self.until) if until < sigma]
        return self._filled(latents, held, self._between(held, sigma))

    def show(self, latents: Tensor, sigma: float) -> Tensor:
        """Placed latents as the transformer sees them: frames that are held to the end with their share of noise."""
        kept = self._kept if self.share != 1.0 else []
        return self._filled(latents, kept, self._between(kept, self.share * sigma))

    def steer(self, velocity: Tensor, sigma: float) -> Tensor:
        """The velocity, along its path for every frame that is held at this noise level.

        What a multistep solver remembers of such a frame is then the frame itself.
        """
        held = [place for place, until in enumerate(self.until) if until < sigma]
        return self._filled(velocity, held, self.noise[:, :, held] - self.latents[:, :, held])

    def finish(self, latents: Tensor) -> Tensor:
        """Finished latents, with every frame that was held to the end as it was."""
        return self._filled(latents, self._kept, self.latents[:, :, self._kept])

    def fills(self, latents: Tensor) -> bool:
        """Whether every frame of latents [1, 16, F, h, w] is held to the end."""
        return len(self._kept) == latents.shape[2]

    def given(self, sigmas: Sequence[float], frames: int) -> int:
        """At how many of the first noise levels every one of so many frames is held, some of them to be set free."""
        highest = max(self.until)
        if len(self.frames) < frames or not highest:
            return 0
        return sum(sigma > highest for sigma in sigmas[:-1])

    @property
    def _kept(self) -> list[int]:
        return [place for place, until in enumerate(self.until) if until == 0]

    def _between(self, places: Sequence[int], sigma: float) -> Tensor:
        return (1 - sigma) * self.latents[:, :, places] + sigma * self.noise[:, :, places]

    def _filled(self, tensor: Tensor, places: Sequence[int], values: Tensor) -> Tensor:
        if not places:
            return tensor
        filled = tensor.clone()
        filled[:, :, [self.frames[place] for place in places]] = values
        return filled
