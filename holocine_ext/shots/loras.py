"""How much of each LoRA counts in each shot: for its tokens of the video, and for those of its caption."""

from __future__ import annotations

from collections.abc import Sequence

from holocine_ext.shots.layout import ShotLayout
from holocine_ext.shots.spans import TextSpans
from wan2.models.branches import Run, Strengths


def lora_strengths(
    multipliers: Sequence[float],
    of_shots: Sequence[tuple[float, ...] | None],
    layout: ShotLayout,
    spans: TextSpans,
) -> tuple[Strengths, ...]:
    """The strengths of each LoRA of an expert.

    What belongs to no shot, such as the global caption, gets the multiplier.

    Args:
        multipliers: of each LoRA, where a shot does not say.
        of_shots: of each LoRA, or one for all of them, in every shot; None leaves a shot as the rest.
        layout: where the shots lie.
        spans: the tokens of their captions.
    """
    found = []
    for number, multiplier in enumerate(multipliers):
        own = {shot: given[number % len(given)] for shot, given in enumerate(of_shots) if given}
        tokens = tuple(Run(*layout.shots[shot], strength) for shot, strength in own.items())
        text = tuple(Run(*span, own[shot]) for shot, span in enumerate(spans.shots) if shot in own)
        found.append(Strengths(multiplier, tokens, text))
    return tuple(found)
