"""A scene as the library takes it, without a command line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holocine_ext.presets import MODELS
from holocine_ext.request import SceneRequest, Shown, scene_request
from holocine_ext.story.boards import from_arguments
from wan2.errors import InputError
from wan2.plan.outputs import OutputPaths

NANO = MODELS["nano"]["sparse"]
BOARD = from_arguments(global_caption="A lighthouse.", shot_captions=("The tower", "The sea"), shot_cut_frames=[18])


def scene(shown: Shown | None = None, mask: str | None = None, **values: object) -> SceneRequest:
    return scene_request(BOARD, NANO, values, mask, shown)


def test_a_value_given_wins_over_the_preset() -> None:
    made = scene(num_frames=41, infer_steps=3, seed=7)
    assert (made.base.num_frames, made.base.sampling.infer_steps, made.base.seed) == (41, 3, 7)
    assert made.base.prompt == BOARD.prompt
    assert made.base.fps == NANO.fps
    assert made.layout is not None and made.layout.cuts == (17,)
    assert made.title == "A lighthouse."


def test_a_storyboard_wins_over_the_preset() -> None:
    board = replace(BOARD, size=(32, 96), seed=5)
    made, given = scene_request(board, NANO, {}), scene_request(board, NANO, {"height": 48, "width": 48, "seed": 6})
    assert (made.base.height, made.base.width, made.base.seed) == (32, 96, 5)
    assert (given.base.height, given.base.width, given.base.seed) == (48, 48, 6)


def test_a_wrong_value_is_named_as_in_the_request() -> None:
    with pytest.raises(InputError) as caught:
        scene(height=100)
    assert (caught.value.field, caught.value.value) == ("height", 100)
    assert str(caught.value).startswith("height 100: ") and "--" not in str(caught.value)


def test_only_the_files_that_were_given_are_named() -> None:
    making = scene().making
    assert making is not None and making.named_files == frozenset()
    given = scene(vae=NANO.model.vae).making
    assert given is not None and given.named_files == {"vae"}


def test_what_is_shown_decides_what_is_written() -> None:
    paths = OutputPaths(NANO.model.vae.parent, "scene")

    def names(made: SceneRequest) -> list[str]:
        return [target.path.name for target in made.also(paths)]

    assert names(scene()) == ["scene_sheet.png"]
    assert names(scene(Shown(contact_sheet=False))) == []
    assert names(scene(Shown(export_shots=True))) == ["scene_shot01.mp4", "scene_shot02.mp4", "scene_sheet.png"]


def test_what_decides_the_latents_is_in_the_record_and_what_is_shown_is_not_among_it() -> None:
    plain, shown = scene(), scene(Shown(contact_sheet=False, export_shots=True))
    assert plain.deciding == shown.deciding
    assert plain.deciding.items() <= plain.as_record().items()
    assert plain.deciding != scene(mask="id").deciding
