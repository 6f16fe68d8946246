"""Pixels to latent frames to tokens, in integers. Knows nothing of tensors.

Source: the Wan2.1 VAE (4x in time with the first frame alone, 8x in space) and the 1x2x2 patches of the transformer.
"""

from __future__ import annotations

from dataclasses import dataclass

TIME_STRIDE = 4
SPACE_STRIDE = 8
PATCH = 2
SIZE_MULTIPLE = SPACE_STRIDE * PATCH


def snap_frames(n: int) -> int:
    """Nearest number of frames of the form 4t+1 (halves to even, as Python rounds), at least 1."""
    return max(1, TIME_STRIDE * round((n - 1) / TIME_STRIDE) + 1)


def latent_index(frame: int) -> int:
    """Index of the latent frame that holds pixel frame `frame` (both counted from 0)."""
    return (frame - 1) // TIME_STRIDE + 1


@dataclass(frozen=True)
class VideoShape:
    """Size of a video in pixels, and every size that follows from it."""

    num_frames: int
    height: int
    width: int

    @property
    def latent_frames(self) -> int:
        """Frames of the latent clip."""
        return (self.num_frames - 1) // TIME_STRIDE + 1

    @property
    def latent_height(self) -> int:
        """Rows of a latent frame."""
        return self.height // SPACE_STRIDE

    @property
    def latent_width(self) -> int:
        """Columns of a latent frame."""
        return self.width // SPACE_STRIDE

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time, height and width."""
        return self.latent_frames, self.latent_height // PATCH, self.latent_width // PATCH

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one latent frame."""
        return self.grid[1] * self.grid[2]

    @property
    def tokens(self) -> int:
        """Tokens of the whole video."""
        return self.latent_frames * self.tokens_per_frame

    def latent_size(self, channels: int = 16) -> tuple[int, int, int, int]:
        """Shape of the latent clip, without the batch: (channels, frames, rows, columns)."""
        return channels, self.latent_frames, self.latent_height, self.latent_width

    @property
    def latent(self) -> tuple[int, int, int, int]:
        """`latent_size()` with the channels of the Wan VAE."""
        return self.latent_size()
