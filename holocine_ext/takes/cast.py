"""The cast as latents that are held behind the end of a video: where they lie, what a record says. Integers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holocine_ext.story.cast import IMAGE, Member
from holocine_ext.story.lengths import FROM
from holocine_ext.takes.take import Take, read_take
from wan2.errors import InputError
from wan2.plan.pictures import fit, picture_size
from wan2.plan.pieces import PIXELS, Piece, Source
from wan2.shapes import VideoShape
from wan2.weights.fingerprint import fingerprint

# How many latent frames of a member the shots of a film see: most of what a picture says is in the first.
FRAMES = 3


@dataclass(frozen=True)
class CastShot:
    """A member as latents: their pieces, counted from the first, what the record says, and how a picture was fitted."""

    pieces: tuple[Piece, ...]
    note: Mapping[str, Any]
    fitted: str = ""

    @property
    def frames(self) -> int:
        """Latent frames."""
        return frames_of(self.note)


def cast_shots(members: Sequence[Member], shape: VideoShape, place: str) -> tuple[CastShot, ...]:
    """The cast of a video of this size; `place` begins messages.

    Raises:
        InputError: a file that cannot be read, a take of another size, or one that has no such shot.
    """
    found = []
    for number, member in enumerate(members, 1):
        try:
            found.append(_of_take(member, shape) if member.image is None else _of_image(member, shape))
        except InputError as error:
            raise InputError(f"{place}: cast {number}: {error}") from error
    return tuple(found)


def cast_again(take: Take) -> tuple[CastShot, ...]:
    """The cast of a take, whose latents lie behind its end.

    Raises:
        InputError: its latents do not hold what its record says.
    """
    return cast_behind(take.origin.pieces if take.scene.cast else (), take.scene.cast, take.shape.latent_frames)


def cast_behind(pieces: Sequence[Piece], notes: Sequence[Mapping[str, Any]], end: int) -> tuple[CastShot, ...]:
    """The cast that lies behind the end of a video, by its pieces and what its record says.

    Raises:
        InputError: the two do not fit each other.
    """
    found = []
    for note in notes:
        stop = end + frames_of(note)
        own = tuple(replace(piece, place=piece.place - end) for piece in pieces if end <= piece.place < stop)
        if sum(piece.count for piece in own) != stop - end:
            raise InputError("what the record says of the cast does not fit its latents")
        found.append(CastShot(own, note))
        end = stop
    return tuple(found)


def frames_of(note: Mapping[str, Any]) -> int:
    """The latent frames of a member, by its note.

    Raises:
        InputError: it does not say.
    """
    frames = note.get("latent_frames")
    if type(frames) is not int or not 1 <= frames <= FRAMES:
        raise InputError("a member of the cast has no length")
    return frames


def _of_image(member: Member, shape: VideoShape) -> CastShot:
    if member.image is None:
        raise ValueError("the member has no picture")
    how = fit(picture_size(member.image), (shape.width, shape.height))
    # The first latent frame of a video holds one frame, those behind its end four: so one more is made.
    source = Source(member.image, PIXELS, (1, *replace(shape, num_frames=4 * FRAMES + 1).latent))
    note = _note(member, FRAMES, IMAGE, member.image.name, fingerprint([member.image])["fingerprint"])
    return CastShot((Piece(0, FRAMES, source, 1),), note, f"{member.image.name}: {how}")


def _of_take(member: Member, shape: VideoShape) -> CastShot:
    if member.take is None:
        raise InputError("its latents are those of a take; give that by `take`")
    take = read_take(member.take)
    if not 1 <= member.number <= take.layout.num_shots:
        raise InputError(f"{member.take}#{member.number}: the take has shots 1 to {take.layout.num_shots}")
    if (take.shape.height, take.shape.width) != (shape.height, shape.width):
        raise InputError(f"{member.take}: is of {take.shape.height}x{take.shape.width} pixels, the video of another")
    pieces = take.shot(member.number - 1, most=FRAMES)
    print_ = fingerprint([take.latents])["fingerprint"]
    count = sum(piece.count for piece in pieces)
    return CastShot(pieces, _note(member, count, FROM, f"{take.path.name}#{member.number}", print_))


def _note(member: Member, frames: int, kind: str, came: str, latents: str) -> dict[str, Any]:
    return {"caption": member.caption, kind: came, "latent_frames": frames, "fingerprint": latents}
