"""Scenes put into words: the tagged prompts that the miniature was trained on, in many wordings."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from holocine_ext.evaluate.nano_world import world
from holocine_ext.evaluate.nano_world.world import Scene, Shot
from holocine_ext.story.prompt import build_prompt

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

FACTS: dict[str, tuple[str, ...]] = {
    "place": tuple(world.PLACES),
    "colour": tuple(world.COLOURS),
    "shape": world.SHAPES,
    "framing": world.FRAMINGS,
    "motion": world.MOTIONS,
    "light": world.LIGHTS,
}
"""Every fact that captions name, and its values."""

GLOBAL_FORMS = (
    "{a} with a hat lives in {place}.",
    "In {place} there is {a}.",
    "[character1] is {a}. The scene is {place}.",
    "The scene is {place}. [character1] is {a} wearing a hat.",
    "A day and a night in {place}. [character1]: {a}.",
    "The story of {a} in {place}.",
)
PAIR_FORMS = (
    "[character1] is {a}. [character2] is {b}. The scene is {place}.",
    "The scene is {place}. [character1] is {a}, [character2] is {b}.",
    "The scene is {place}. [character1] is {a}. [character2] is {b}.",
    "[character1]: {a}. [character2]: {b}. They live in {place}.",
    "In {place} [character1], {a} wearing a hat, meets [character2], {b} with a hat.",
    "The story of [character1], {a}, and [character2], {b}, in {place}.",
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
    """Put a scene into words drawn at random. The colour of the hat and the side of the landmark are never named."""
    place = rng.choice(PLACES[scene.place])
    bodies = [(rng.choice(COLOURS[c.colour]), rng.choice(SHAPES[c.shape])) for c in scene.characters]
    if len(scene.shots) == 1 and rng.random() < 0.3:
        form = rng.choice(PLAIN_FORMS)
        (colour, shape) = bodies[0]
        words = {"place": place, "colour": colour, "shape": shape, **_shot_words(rng, scene.shots[0])}
        return Captions(None, (_sentence(form.format(**words)),))
    form = rng.choice(GLOBAL_FORMS if len(bodies) == 1 else PAIR_FORMS)
    names = dict(zip("ab", (f"a {colour} {shape}" for colour, shape in bodies), strict=False))
    shots = []
    for shot in scene.shots:
        colour, shape = bodies[shot.who]
        who = [f"[character{shot.who + 1}]"] if "[character" in form else [f"the {shape}", "it", "the character"]
        if len(bodies) == 2:
            who.append(f"the {colour} {shape}")
        shots.append(_sentence(rng.choice(SHOT_FORMS).format(who=rng.choice(who), **_shot_words(rng, shot))))
    return Captions(_sentence(form.format(place=place, **names)), tuple(shots))


def _shot_words(rng: Random, shot: Shot) -> dict[str, str]:
    return {
        "framing": rng.choice(FRAMINGS[shot.framing]),
        "motion": rng.choice(MOTIONS[shot.motion]),
        "light": rng.choice(LIGHTS[shot.light]),
    }


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def facts_of(scene: Scene, shot: Shot) -> dict[str, str]:
    """The facts of a shot that captions name."""
    who = scene.characters[shot.who]
    return {
        "place": scene.place, "colour": who.colour, "shape": who.shape,
        "framing": shot.framing, "motion": shot.motion, "light": shot.light,
    }  # fmt: skip
