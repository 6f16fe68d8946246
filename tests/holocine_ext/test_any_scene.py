"""Any scene at all: a plan whose invariants hold, or one line that names the field."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holocine_ext.presets import MODELS
from holocine_ext.shots.layout import ShotLayout, plan_layout
from holocine_ext.shots.spans import allowed_key_ranges, check_text_fits
from holocine_ext.story.document import from_document
from holocine_ext.story.scene import plan_scene
from tests.tiny import DATA
from wan2.errors import InputError
from wan2.text.tokenizer import TEXT_LENGTH, load_tokenizer

TOKENIZER = load_tokenizer(DATA / "tokenizer")
PRESET = MODELS["holocine"]["full"]
PLACE = "scene.json"

# Any Unicode, lone surrogates included, and words that are close to the tags or to what cleaning makes of them.
pieces = st.sampled_from(
    [
        "[shot cut]",
        "[global caption]",
        "[per shot caption]",
        "[Shot_Cut]",
        "&#91;shot cut&#93;",
        "[character1]",
        "[",
        "]",
    ]
    + [
        "This scene contains 3 shots.",
        "\u202e",
        "\x00",
        "e\u0301",
        "\u200b",
        "👩‍🚀",
        "ﬁ",
        "灯台",
        "&amp;amp;",
        "\r\n",
        " ",
    ]
)
texts = st.text(max_size=12) | st.lists(pieces | st.text(max_size=6), max_size=4).map(" ".join)
plain = st.text(st.characters(whitelist_categories=("L", "Nd", "Zs", "Po")), min_size=1, max_size=8)


@st.composite
def scenes(draw: st.DrawFn) -> dict[str, Any]:
    """Half of them tame, so that many are scenes that could be made."""
    count = draw(st.integers(1, 60))
    tame = draw(st.booleans())
    words = st.sampled_from(["a gull", "灯台", "rain; fog", "ﬁre", "e\u0301tude"]) if tame else texts | plain
    captions = draw(st.lists(words, min_size=count, max_size=count))
    scene: dict[str, Any] = {"global_caption": draw(words), "shots": [{"caption": text} for text in captions]}
    frames = draw(st.integers(8 * count + 5, 800) if tame else st.integers(1, 400))
    if tame and draw(st.booleans()):
        starts = st.lists(st.integers(1, frames // 4 - 1), min_size=count - 1, max_size=count - 1, unique=True)
        return scene | {"num_frames": frames, "shot_cut_frames": [4 * start + 1 for start in sorted(draw(starts))]}
    scene["num_frames"] = frames
    if draw(st.booleans()):
        cuts = draw(st.lists(st.integers(-2, frames + 2), min_size=count - 1, max_size=count - 1))
        scene["shot_cut_frames"] = sorted(cuts)
    return scene


def check_layout(layout: ShotLayout, count: int) -> None:
    """The shots cover all latent frames, in order, none of them empty."""
    assert layout.num_shots == count
    assert (layout.latents[0][0], layout.latents[-1][1]) == (0, layout.latent_frames)
    assert all(start < stop for start, stop in layout.latents)
    assert all(before[1] == after[0] for before, after in pairwise(layout.latents))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenes())
def test_a_plan_or_one_line(document: dict[str, Any]):
    try:
        scene = plan_scene(from_document(document, PLACE), PRESET)
        layout = plan_layout(scene.num_frames, scene.num_shots, scene.cuts, 4, names=scene.names)
        tokenized = TOKENIZER.tokenize(scene.storyboard.prompt)
        spans = check_text_fits(tokenized, scene.num_shots, scene.storyboard.caption_name, TEXT_LENGTH)
    except InputError as error:
        line = str(error)
        assert line.startswith(PLACE)
        assert len(line.splitlines()) == 1
        line.encode()
        return
    check_layout(layout, len(document["shots"]))
    ranges = allowed_key_ranges(spans, TEXT_LENGTH)
    assert ranges is not None and len(ranges) == layout.num_shots
    for shot, (start, stop) in zip(ranges, spans.shots, strict=True):
        assert 0 <= start < stop <= TEXT_LENGTH
        assert any(a <= start and stop <= b for a, b in shot)
        assert all(0 <= a < b <= TEXT_LENGTH for a, b in shot)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces | plain, max_size=8).map(" ".join))
def test_a_raw_prompt_is_a_scene_or_one_line(prompt: str):
    try:
        storyboard = from_document({"prompt": prompt}, PLACE)
        if storyboard.global_caption is not None:
            tokenized = TOKENIZER.tokenize(storyboard.prompt)
            check_text_fits(tokenized, len(storyboard.shot_captions), PLACE, TEXT_LENGTH)
    except InputError as error:
        assert str(error).startswith(PLACE)
        assert len(str(error).splitlines()) == 1
