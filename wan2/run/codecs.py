"""How frames become bytes: the encoders of `codec`, and what each of them wants. Opens no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wan2.files import Whole, whole_file
from wan2.plan.outputs import Chapter
from wan2.request.output import Output

# FFmpeg's numbers; BT709 is the code point of ITU-T H.273 for matrix, primaries and transfer alike.
BT709, LIMITED_RANGE = 1, 1
MOV_FLAGS = {"movflags": "+faststart+use_metadata_tags"}
# A picture that is asked for as a whole one becomes one from which a player can begin.
BEGIN_THERE = {"forced-idr": "1"}


@dataclass(frozen=True)
class Codec:
    """An encoder by FFmpeg's names.

    Attributes:
        encoder: of pictures.
        pixels: what it takes; colours are BT.709 in limited range, unless it takes them as they are.
        file: the container.
        sound: the encoder of sound that goes with it.
        settings: of the encoder.
        rated: whether it has a quality, `crf`.
        tag: by which players know the stream; empty where FFmpeg's own will do.
    """

    encoder: str
    pixels: str
    file: str
    sound: str
    settings: Mapping[str, str] = field(default_factory=dict)
    rated: bool = False
    tag: str = ""

    @property
    def lossless(self) -> bool:
        """Whether pictures come back byte for byte."""
        return self.encoder == "ffv1"

    @property
    def container_settings(self) -> Mapping[str, str]:
        """What the container is written with."""
        return {} if self.file == "matroska" else MOV_FLAGS


ENCODERS: dict[str, Codec] = {
    # With its macroblock tree, x264 makes of the same frames another file every time on some processors.
    "h264": Codec("libx264", "yuv420p", "mp4", "aac", {"x264-params": "mbtree=0", **BEGIN_THERE}, rated=True),
    "h265": Codec("libx265", "yuv420p", "mp4", "aac", {"x265-params": "log-level=none", **BEGIN_THERE}, True, "hvc1"),
    "prores": Codec("prores_ks", "yuv422p10le", "mov", "pcm_s16le", {"profile": "3"}),
    "ffv1": Codec("ffv1", "bgr0", "matroska", "flac", {"level": "3", "g": "1"}),
}
"""What `codec` can be -> how it is done."""


@dataclass(frozen=True)
class Container:
    """What frames are put into.

    Attributes:
        codec: one of `ENCODERS`.
        chapters: each begins with a picture from which a player can begin.
        soundtrack: a file with sound, cut to the length of the frames.
        whole: how the file appears whole.
    """

    codec: str = Output().codec
    chapters: tuple[Chapter, ...] = ()
    soundtrack: Path | None = None
    whole: Whole = whole_file


USUAL = Container()
"""Without chapters and sound, as most videos are."""
