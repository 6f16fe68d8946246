"""The nano world: what is drawn is what is read, what is said holds everything but the hat."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest

from holocine_ext.evaluate.nano_world.captions import COLOURS, FRAMINGS, LIGHTS, MOTIONS, SHAPES, describe
from holocine_ext.evaluate.nano_world.read import find_cuts, read_shot
from holocine_ext.evaluate.nano_world.world import (
    HATS,
    SIZE,
    Character,
    Scene,
    draw,
    may_follow,
    random_cuts,
    random_scene,
)


def scene_of(seed: int, num_frames: int = 33, num_shots: int = 3) -> Scene:
    rng = Random(seed)
    return random_scene(rng, num_frames, random_cuts(rng, num_frames, num_shots))


def test_a_seed_is_a_film() -> None:
    film = draw(scene_of(1))
    assert film.shape == (33, SIZE, SIZE, 3) and film.dtype == np.uint8
    assert np.array_equal(film, draw(scene_of(1))) and not np.array_equal(film, draw(scene_of(2)))


@pytest.mark.parametrize(("num_frames", "num_shots"), [(17, 2), (33, 3), (97, 6)])
def test_cuts_lie_on_the_grid_and_leave_room(num_frames: int, num_shots: int) -> None:
    for seed in range(20):
        cuts = random_cuts(Random(seed), num_frames, num_shots)
        bounds = [0, *cuts, num_frames]
        assert len(cuts) == num_shots - 1 and all(cut % 4 == 1 for cut in cuts)
        assert min(b - a for a, b in zip(bounds, bounds[1:], strict=False)) >= 8


def test_shots_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="5 shots of 8 frames or more do not fit 33 frames"):
        random_cuts(Random(0), 33, 5)


def test_every_cut_can_be_seen_and_every_character_is() -> None:
    for seed in range(200):
        scene = scene_of(seed)
        assert all(may_follow(a, b.framing, b.light) for a, b in pairwise(scene.shots))
        assert {shot.who for shot in scene.shots} == set(range(len(scene.characters)))
        assert len({who.colour for who in scene.characters}) == len(scene.characters)


@pytest.mark.parametrize("seed", range(2))
def test_what_is_drawn_is_what_is_read(seed: int) -> None:
    scene = scene_of(seed)
    film = draw(scene)
    assert find_cuts(film) == scene.cuts
    for shot in scene.shots:
        seen = read_shot(film[shot.start : shot.end])
        assert (seen.place, seen.hat) == (scene.place, scene.hat)
        assert Character(seen.colour, seen.shape) == scene.characters[shot.who]
        assert (seen.framing, seen.light, seen.motion, seen.side) == (shot.framing, shot.light, shot.motion, shot.side)


def test_captions_name_every_fact_but_the_hat() -> None:
    for seed in range(60):
        scene = scene_of(seed, num_shots=1 + seed % 3)
        captions = describe(Random(seed), scene)
        whole = captions.prompt.lower()
        for who in scene.characters:
            assert any(word in whole for word in COLOURS[who.colour])
            assert any(word in whole for word in SHAPES[who.shape])
        assert not any(f"{hat} hat" in whole for hat in HATS)
        for shot, text in zip(scene.shots, captions.shots, strict=True):
            for words, fact in ((FRAMINGS, shot.framing), (MOTIONS, shot.motion), (LIGHTS, shot.light)):
                assert any(word in text.lower() for word in words[fact])
