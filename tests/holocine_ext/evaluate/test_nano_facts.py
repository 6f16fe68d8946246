"""Facts asked by captions and seen in pictures, on the world's own scenes and words."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from holocine_ext.evaluate.nano_world.captions import describe
from holocine_ext.evaluate.nano_world.facts import SHOT_FACTS, caption_facts, drawing, measure, read_facts
from holocine_ext.evaluate.nano_world.world import Character, Scene, draw, random_cuts, random_scene
from wan2.errors import InputError


def scene_of(seed: int, shots: int, num_frames: int = 41) -> Scene:
    rng = Random(seed)
    return random_scene(rng, num_frames, random_cuts(rng, num_frames, shots, shortest=9))


def ranges(scene: Scene) -> list[tuple[int, int]]:
    return [(shot.start, shot.end) for shot in scene.shots]


@pytest.mark.parametrize("shots", [1, 2, 3])
def test_every_wording_tells_its_facts(shots: int):
    for seed in range(200):
        scene = scene_of(seed, shots)
        captions = describe(Random(seed), scene)
        for asked, shot in zip(caption_facts(captions.global_caption or "", captions.shots), scene.shots, strict=True):
            who = scene.characters[shot.who]
            expected = {"place": scene.place, "colour": who.colour, "shape": who.shape}
            expected |= {fact: getattr(shot, fact) for fact in SHOT_FACTS}
            assert asked == expected, captions


def test_what_is_not_told_or_told_twice_is_left_open():
    (asked,) = caption_facts("A red ball and a blue ball in the snow.", ["It stands still, a closeup of redness."])
    assert asked == {"place": "snow", "shape": "circle"}


def test_a_drawing_agrees_with_itself():
    scene = scene_of(4, 3)
    captions = describe(Random(4), scene)
    asked = caption_facts(captions.global_caption or "", captions.shots)
    agreement = measure(read_facts(draw(scene), ranges(scene), asked))
    assert agreement == dict.fromkeys(agreement, 1.0)
    drawn = drawing(asked, scene.cuts, scene.num_frames, seed=9)
    assert measure(read_facts(drawn, ranges(scene), asked))["caption"] == 1.0


def test_a_tag_calls_the_one_whom_the_global_caption_describes():
    cast = "[character1] is a red ball. [character2]: a blue box wearing a hat. The scene is the snow."
    asked = caption_facts(
        cast, ["[character2] waiting.", "Close-up of [character1].", "The red ball at noon.", "Night."]
    )
    assert [(t.get("colour"), t.get("shape")) for t in asked] == [
        ("blue", "square"), ("red", "circle"), ("red", "circle"), (None, None),
    ]  # fmt: skip


def test_two_characters_are_not_held_against_each_other():
    seed = next(seed for seed in range(99) if len({shot.who for shot in scene_of(seed, 3).shots}) == 2)
    scene = scene_of(seed, 3)
    captions = describe(Random(seed), scene)
    asked = caption_facts(captions.global_caption or "", captions.shots)
    agreement = measure(read_facts(draw(scene), ranges(scene), asked))
    assert agreement["inter_shot"] == agreement["unnamed"] == agreement["caption"] == 1.0
    drawn = drawing(asked, scene.cuts, scene.num_frames, seed=3)
    assert measure(read_facts(drawn, ranges(scene), asked))["unnamed"] == 1.0


def test_another_hat_and_another_light_are_seen():
    scene = replace(scene_of(4, 2), characters=(Character("red", "square"),), hat="green")
    scene = replace(scene, shots=tuple(replace(shot, who=0) for shot in scene.shots))
    asked = caption_facts("", ["In the dark." if scene.shots[0].light == "day" else "At noon.", ""])
    changed = draw(scene)
    start = scene.cuts[0]
    changed[start:] = draw(replace(scene, hat="pink"))[start:]
    agreement = measure(read_facts(changed, ranges(scene), asked))
    assert (agreement["caption"], agreement["unnamed"]) == (0.0, 0.0)
    assert agreement["inter_shot"] == pytest.approx(2 / 3)
    assert agreement["intra_first"] == agreement["intra_frames"] == 1.0


def test_shots_of_a_frame_or_two_are_read_too():
    scene = scene_of(4, 1)
    film = draw(scene)[:3]
    assert [s.seen["place"] for s in read_facts(film, [(0, 1), (1, 3)], [{}, {}])] == [scene.place] * 2


def test_only_frames_of_nano_are_read():
    with pytest.raises(InputError, match="which are 64x64"):
        read_facts(np.zeros((5, 32, 48, 3), np.uint8), [(0, 5)], [{}])
