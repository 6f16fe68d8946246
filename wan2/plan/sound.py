"""Whether a file holds sound that can be put beside a video: known before anything is made. Decodes a moment of it."""

from __future__ import annotations

from pathlib import Path

from wan2.errors import InputError

FIELD = "soundtrack"


def check_sound(path: Path) -> None:
    """Refuse a file without sound.

    Raises:
        InputError: no such file, one that cannot be read, or one with no sound in it.
    """
    if not path.is_file():
        raise InputError("no such file", field=FIELD, value=path)
    import av  # a tenth of a second, which runs without sound need not wait
    from av.error import FFmpegError

    try:
        with av.open(f"file:{path}") as container:
            if not container.streams.audio:
                raise InputError("has no sound in it", field=FIELD, value=path)
            if next(container.decode(audio=0), None) is None:
                raise InputError("its sound is empty", field=FIELD, value=path)
    except FFmpegError as error:
        raise InputError(f"is no sound that can be read ({error.strerror})", field=FIELD, value=path) from error
