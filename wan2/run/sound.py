"""Sound beside a video: read, brought to one rate, encoded as the frames come, and cut where they end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

RATE = 48_000


class Sound:
    """The sound of a file as a stream of a container that is being written; use it in a `with`.

    Args:
        path: the file.
        container: what it is put into, before anything was written there.
        encoder: FFmpeg's name.
    """

    def __init__(self, path: Path, container: OutputContainer, encoder: str) -> None:
        self._source = av.open(f"file:{path}")
        stream = self._source.streams.audio[0]
        layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        self._stream = cast("AudioStream", container.add_stream(encoder, rate=RATE, layout=layout))
        self._resampler = AudioResampler(format="s16", layout=layout, rate=RATE)
        self._frames = self._decoded()
        self._held = AudioFifo()
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def until(self, seconds: float) -> Iterator[Packet]:
        """The packets of what was not written yet, up to a time."""
        wanted = int(seconds * RATE) - self._written
        while self._held.samples < wanted and (frame := next(self._frames, None)) is not None:
            self._held.write(frame)
        if wanted > 0 and (piece := self._held.read(wanted, partial=True)) is not None:
            self._written += piece.samples
            yield from self._stream.encode(piece)

    def end(self) -> Iterator[Packet]:
        """The packets that the encoder still holds."""
        yield from self._stream.encode(None)

    def _decoded(self) -> Iterator[AudioFrame]:
        for frame in self._source.decode(audio=0):
            frame.pts = None
            yield from self._resampler.resample(frame)
        yield from self._resampler.resample(None)
