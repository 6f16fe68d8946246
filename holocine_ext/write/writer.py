"""A storyboard from a few words: what a model is asked, and what of its answer is taken. Starts no render.

Only captions are the model's: how many shots there are, how long they last and what was written before stay as they
are. Captions that are too long are asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holocine_ext.presets import TRAINED_SHOTS
from holocine_ext.story.document import from_document
from holocine_ext.write.endpoint import FIELD, Endpoint
from wan2.errors import InputError
from wan2.request.fields import Number

MOST_BRIEF = 4000
SHOTS = Number(1, TRAINED_SHOTS, whole=True)
# Of the 512 tokens that the model reads, in words: all captions together, and what the shots share.
WORDS, SHARED_WORDS = 330, 80
TRIES = 3
RULES = """You write storyboards for a text-to-video model that makes one scene of several shots in one pass.
Answer with one JSON object and nothing else: {"global_caption": text, "shots": [{"caption": text}, ...]}.
The global caption says what stays the same: the place, the people and what they look like, the light, the style. Give
each person a tag and a look: "[character1] is a clockmaker in her seventies with a white braid."
A shot caption says what is new: first the framing (Wide shot, Medium close-up), then who, by tag, the action, the
camera; one or two short sentences. Each shot reads the global caption and its own caption, no other: never write
"again", or a pronoun for somebody whom the caption does not name. Neighbouring shots differ in size or angle."""
CAPTION = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
SCHEMA = {
    "type": "object",
    "properties": {"global_caption": {"type": "string"}, "shots": {"type": "array", "items": CAPTION}},
    "required": ["global_caption", "shots"],
}


@dataclass(frozen=True)
class Brief:
    """What is to be written.

    Attributes:
        text: a few words.
        board: the storyboard as far as it is written: its shots are there, captions may be absent or empty.
    """

    text: str
    board: Mapping[str, Any]

    @property
    def captions(self) -> list[str]:
        """What is written of each shot; empty where nothing is."""
        return [str(shot.get("caption") or "").strip() for shot in self.board["shots"]]

    @property
    def shared(self) -> str:
        """What is written of all shots."""
        return str(self.board.get("global_caption") or "").strip()

    @property
    def missing(self) -> list[int]:
        """The numbers of the shots to be written, from 1. A shot of a take has its caption there."""
        shots = enumerate(zip(self.board["shots"], self.captions, strict=True), 1)
        return [number for number, (shot, caption) in shots if not caption and shot.get("from") is None]

    @property
    def words_each(self) -> int:
        """How many words a shot may have."""
        return (WORDS - SHARED_WORDS) // len(self.captions)


def empty_board(shots: int, seconds: Sequence[float]) -> dict[str, Any]:
    """A storyboard without captions. seconds: of the whole scene, of each shot, or none.

    Raises:
        InputError: a number of shots that no scene has, or times that are not one for all or one for each.
    """
    SHOTS.check("shots", shots)
    if not seconds:
        return {"global_caption": "", "shots": [{"caption": ""} for _ in range(shots)]}
    if len(seconds) not in (1, shots):
        raise InputError(f"{len(seconds)} for {shots} shots; give one for the scene, or one for each", field="seconds")
    for value in seconds:
        Number(0.1, 1000).check("seconds", value)
    each = list(seconds) if len(seconds) > 1 else [round(seconds[0] / shots, 4)] * shots
    return {"global_caption": "", "shots": [{"seconds": time, "caption": ""} for time in each]}


def written(endpoint: Endpoint, brief: Brief, say: Callable[[str], None]) -> dict[str, Any]:
    """The storyboard with everything that was missing; `say` gets a line about captions that stayed too long.

    Raises:
        InputError: a brief that says nothing, a server that does not answer, or answers that make no storyboard.
    """
    if not (brief.text.strip() or brief.shared) or len(brief.text) > MOST_BRIEF:
        raise InputError(f"must be a few words, at most {MOST_BRIEF} characters", field="brief")
    messages = [{"role": "system", "content": RULES}, {"role": "user", "content": _question(brief)}]
    answer = _board(endpoint, messages, len(brief.captions))
    filled = _filled(brief, answer)
    for _ in range(TRIES):
        long = _too_long(brief, filled)
        if not long:
            break
        again = [*messages, {"role": "user", "content": _shorter(brief, filled, long)}]
        filled = _shortened(filled, _board(endpoint, again, len(brief.captions)), long)
    for number in _too_long(brief, filled):
        count = len(filled["shots"][number - 1]["caption"].split())
        say(f"shot {number} has {count} words, more than its {brief.words_each}; make it shorter")
    from_document(filled, "the draft")
    return filled


def _question(brief: Brief) -> str:
    lines = [brief.text.strip() or "Complete this scene.", "", f"Write exactly {len(brief.captions)} shots."]
    lines.append(f"The global caption has at most {SHARED_WORDS} words, each shot at most {brief.words_each}.")
    times = [shot.get("seconds") for shot in brief.board["shots"]]
    if all(times):
        lines.append(f"The shots last {', '.join(f'{time:g}' for time in times)} seconds.")
    kept = ([f"global_caption: {brief.shared}"] if brief.shared else []) + [
        f"shot {number}: {caption}" for number, caption in enumerate(brief.captions, 1) if caption
    ]
    if kept:
        lines += ["", "This is written already and stays; repeat it as it is:", *kept]
    return "\n".join(lines)


def _shorter(brief: Brief, filled: Mapping[str, Any], long: Sequence[int]) -> str:
    said = [f"shot {number}: {filled['shots'][number - 1]['caption']}" for number in long]
    return "\n".join(
        [f"These have more than {brief.words_each} words. Write the scene again with these shorter:", *said]
    )


def _board(endpoint: Endpoint, messages: Sequence[Mapping[str, str]], shots: int) -> Mapping[str, Any]:
    """An answer with so many shots; asked again while it is none."""
    for _ in range(TRIES):
        answer = endpoint.ask(messages, SCHEMA)
        found = answer.get("shots") if isinstance(answer, Mapping) else None
        if isinstance(answer, Mapping) and isinstance(found, list) and len(found) == shots:
            captions = [shot.get("caption") if isinstance(shot, Mapping) else shot for shot in found]
            if all(isinstance(text, str) for text in (answer.get("global_caption"), *captions)):
                return {"global_caption": answer["global_caption"], "shots": captions}
    raise InputError(f"the model did not write a storyboard of {shots} shots; try another model", field=FIELD)


def _filled(brief: Brief, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The storyboard with what was missing from an answer."""
    shots = [dict(shot) for shot in brief.board["shots"]]
    for number in brief.missing:
        shots[number - 1]["caption"] = answer["shots"][number - 1].strip()
    return {**brief.board, "global_caption": brief.shared or answer["global_caption"].strip(), "shots": shots}


def _too_long(brief: Brief, filled: Mapping[str, Any]) -> list[int]:
    """The shots written now that have more words than they may."""
    return [
        number for number in brief.missing if len(filled["shots"][number - 1]["caption"].split()) > brief.words_each
    ]


def _shortened(filled: dict[str, Any], answer: Mapping[str, Any], long: Sequence[int]) -> dict[str, Any]:
    """The storyboard with shorter captions where an answer has some."""
    for number in long:
        shot, caption = filled["shots"][number - 1], answer["shots"][number - 1].strip()
        if caption and len(caption.split()) < len(shot["caption"].split()):
            shot["caption"] = caption
    return filled
