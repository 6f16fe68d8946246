"""Scenes put into words: the tagged prompts that models/nano was trained on, in many wordings."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from holocine_ext.prompt import build_prompt
from tools.nano.world import Scene, Shot

PLACES = {
    "meadow": ("a meadow", "a green field", "a meadow with a tree", "the grassland"),
    "desert": ("a desert", "the sandy desert", "a desert with a pyramid", "the dunes"),
    "snow": ("the snow", "a snowy land", "the snow below a mountain peak", "a white winter land"),
    "city": ("a city", "the grey city", "a city with a tower", "the town"),
}
COLOURS = {
    "red": ("red", "crimson"),
    "yellow": ("yellow", "golden"),
    "blue": ("blue", "deep blue"),
    "purple": ("purple", "violet"),
}
SHAPES = {
    "circle": ("circle", "round figure", "ball"),
    "square": ("square", "box", "square figure"),
    "triangle": ("triangle", "triangular figure", "pyramid-shaped figure"),
}
FRAMINGS = {
    "wide": ("wide shot", "long shot", "wide view", "distant view"),
    "close": ("close-up", "close shot", "near view", "tight close-up"),
}
MOTIONS = {
    "left": ("moving left", "walking to the left", "going left", "gliding to the left"),
    "right": ("moving right", "walking to the right", "going right", "gliding to the right"),
    "still": ("standing still", "waiting", "not moving", "staying in place"),
}
LIGHTS = {
    "day": ("by day", "in daylight", "under the sun", "at noon"),
    "night": ("at night", "in the dark", "under the moon", "at midnight"),
}

GLOBAL_FORMS = (
    "A {colour} {shape} with a hat lives in {place}.",
    "In {place} there is a {colour} {shape}.",
    "[character1] is a {colour} {shape}. The scene is {place}.",
    "The scene is {place}. [character1] is a {colour} {shape} wearing a hat.",
    "A day and a night in {place}. [character1]: a {colour} {shape}.",
    "The story of a {colour} {shape} in {place}.",
)
SHOT_FORMS = (
    "{framing} of {who} {motion} {light}.",
    "{framing}, {light}: {who} {motion}.",
    "{light}, {framing}. {who} {motion}.",
    "{who} {motion} {light}, {framing}.",
    "{framing} {light}, {who} is {motion}.",
)
PLAIN_FORMS = (
    "{framing} of a {colour} {shape} {motion} {light}, in {place}.",
    "{light}, in {place}, a {colour} {shape} {motion}, {framing}.",
)


@dataclass(frozen=True)
class Captions:
    """One scene in words; `global_caption` is None for a plain prompt without tags."""

    global_caption: str | None
    shots: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """The text that the encoder reads."""
        return self.shots[0] if self.global_caption is None else build_prompt(self.global_caption, self.shots)


def describe(rng: Random, scene: Scene) -> Captions:
    """Put a scene into words drawn at random. The hat's colour and the landmark's side are never named."""
    words = {
        "place": rng.choice(PLACES[scene.place]),
        "colour": rng.choice(COLOURS[scene.colour]),
        "shape": rng.choice(SHAPES[scene.shape]),
    }
    if len(scene.shots) == 1 and rng.random() < 0.3:
        form = rng.choice(PLAIN_FORMS)
        return Captions(None, (_sentence(form.format(**words, **_shot_words(rng, scene.shots[0]))),))
    form = rng.choice(GLOBAL_FORMS)
    names = ["[character1]"] if "[character1]" in form else ["the " + words["shape"], "it", "the character"]
    shots = [
        _sentence(rng.choice(SHOT_FORMS).format(who=rng.choice(names), **_shot_words(rng, shot)))
        for shot in scene.shots
    ]
    return Captions(_sentence(form.format(**words)), tuple(shots))


def _shot_words(rng: Random, shot: Shot) -> dict[str, str]:
    return {
        "framing": rng.choice(FRAMINGS[shot.framing]),
        "motion": rng.choice(MOTIONS[shot.motion]),
        "light": rng.choice(LIGHTS[shot.light]),
    }


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
