"""Storyboards of clips as TOML, written for people to edit. Knows nothing of pictures."""

from __future__ import annotations

from collections.abc import Sequence

from holocine_ext.story.as_text import toml_text
from holocine_ext.teach.cutting import Clip, Cutting

TO_WRITE = "# Captions are missing: write what all shots share, and what each one shows.\n"


def board_text(clip: Clip, cutting: Cutting) -> str:
    """The storyboard of a clip; captions that nobody has given yet are empty."""
    captions = [shot.caption for shot in clip.shots]
    lines = [] if clip.is_captioned else [TO_WRITE]
    alone = clip.is_captioned and not clip.global_caption
    lines.append(
        f"prompt = {toml_text(captions[0])}\n" if alone else f"global_caption = {toml_text(clip.global_caption)}\n"
    )
    lines.append(f"num_frames = {clip.num_frames}\nfps = {cutting.fps:g}\n")
    lines.append(f"size = [{cutting.height}, {cutting.width}]\n")
    lines += [] if alone else _shots(captions, clip.cuts)
    return "".join(lines)


def _shots(captions: Sequence[str], cuts: Sequence[int]) -> list[str]:
    starts = (0, *cuts)
    return [
        f"\n[[shots]]\ncut_frame = {start}\ncaption = {toml_text(caption)}\n"
        for start, caption in zip(starts, captions, strict=True)
    ]
