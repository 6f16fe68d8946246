"""Clips to learn from: a video and its storyboard each, held against each other. Decodes no frame it need not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import av
from av.error import FFmpegError

from holocine_ext.evaluate.asked import VIDEO_SUFFIXES
from holocine_ext.shots.layout import Range, ShotLayout
from holocine_ext.shots.spans import allowed_key_ranges, check_text_fits
from holocine_ext.story.storyboard import Storyboard
from holocine_ext.teach.prepare import board_beside
from wan2.errors import InputError
from wan2.plan.files import Files
from wan2.run.video_io import count_frames, url_of
from wan2.shapes import SIZE_MULTIPLE, TIME_STRIDE, VideoShape
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt

HOW_TO = "make clips with holocine_prepare"
BLOCK = 1 << 20


@dataclass(frozen=True)
class Example:
    """One clip. key_ranges: for every shot the text positions it may see; None for a prompt without shots."""

    name: str
    video: Path
    board: Storyboard
    shape: VideoShape
    layout: ShotLayout
    prompt: TokenizedPrompt
    key_ranges: tuple[tuple[Range, ...], ...] | None

    def content(self) -> str:
        """A hash of the video's file."""
        digest = sha256()
        with self.video.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        return digest.hexdigest()


def read_examples(folder: Path, tokenizer: Path, files: Files) -> list[Example]:
    """Every clip of a folder, by name.

    Raises:
        InputError: no folder, no clip, or one that does not fit its storyboard; with the clip and the rule.
    """
    if not folder.is_dir():
        raise InputError("no such folder", field="data", value=folder)
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError(f"holds no film; {HOW_TO}", field="data", value=folder)
    return [_example(video, tokenizer, files) for video in videos]


def _example(video: Path, tokenizer: Path, files: Files) -> Example:
    board = board_beside(video)
    if board is None:
        raise InputError(f"{video}: no storyboard beside it; {HOW_TO}")
    shape = _shape(video)
    if board.num_frames is not None and board.num_frames != shape.num_frames:
        raise InputError(f"{board.source}: num_frames {board.num_frames}: {video.name} has {shape.num_frames} frames")
    if board.size is not None and board.size != (shape.height, shape.width):
        raise InputError(f"{board.source}: size {list(board.size)}: {video.name} is {shape.height}x{shape.width}")
    layout = _layout(board, shape)
    prompt = files.tokenize(tokenizer, board.prompt)
    if board.global_caption is None:
        if prompt.num_tokens > TEXT_LENGTH:
            raise InputError(f"{board.source}: the prompt has {prompt.num_tokens} tokens; at most {TEXT_LENGTH}")
        return Example(video.stem, video, board, shape, layout, prompt, None)
    spans = check_text_fits(prompt, layout.num_shots, board.caption_name, TEXT_LENGTH)
    return Example(video.stem, video, board, shape, layout, prompt, allowed_key_ranges(spans, TEXT_LENGTH))


def _shape(video: Path) -> VideoShape:
    try:
        with av.open(url_of(video)) as container:
            stream = container.streams.video[0]
            height, width = stream.height, stream.width
    except (FFmpegError, IndexError) as error:
        raise InputError(f"{video}: is not a video that can be read ({error})") from error
    frames = count_frames(video)
    if frames % TIME_STRIDE != 1:
        raise InputError(f"{video}: has {frames} frames, which is not 4t+1; {HOW_TO}")
    if height % SIZE_MULTIPLE or width % SIZE_MULTIPLE:
        raise InputError(f"{video}: is {height}x{width}; both must be multiples of {SIZE_MULTIPLE}; {HOW_TO}")
    return VideoShape(frames, height, width)


def _layout(board: Storyboard, shape: VideoShape) -> ShotLayout:
    """The shots where the storyboard says that they are, to the frame: labels are not rounded."""
    shots = len(board.shot_captions)
    if shots > 1 and board.shot_cut_frames is None:
        raise InputError(f"{board.source}: says not at which frames its {shots} shots begin (cut_frame)")
    cuts = board.shot_cut_frames or ()
    if odd := [cut for cut in cuts if cut % TIME_STRIDE != 1]:
        raise InputError(f"{board.source}: cut {odd[0]}: must be 4t+1, where a latent frame begins; {HOW_TO}")
    try:
        if len(cuts) != shots - 1:
            raise ValueError(f"{len(cuts)} cuts for {shots} shots")
        return ShotLayout(shape.num_frames, cuts, shape.tokens_per_frame)
    except ValueError as error:
        raise InputError(f"{board.source}: {error}") from error


def held_out(examples: Sequence[Example], count: int, seed: int) -> tuple[list[Example], list[Example]]:
    """The clips to train on, and those that are not trained on.

    Raises:
        InputError: none would be left to train on.
    """
    if count >= len(examples):
        raise InputError(f"of {len(examples)} clips none would be left to train on", field="held_out", value=count)
    chosen = set(Random(seed).sample(range(len(examples)), count))
    split: tuple[list[Example], list[Example]] = ([], [])
    for number, example in enumerate(examples):
        split[number in chosen].append(example)
    return split
