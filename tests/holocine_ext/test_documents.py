"""Documents that other programs write or read otherwise: YAML's scalars, other names of fields, sizes without sense."""

from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from holocine_ext.shots.spans import text_spans
from holocine_ext.story.boards import from_file
from holocine_ext.story.direction import DIRECTION
from holocine_ext.story.document import FIELDS, from_document
from holocine_ext.story.fields import MAX_PARTS
from holocine_ext.story.lengths import TIMES
from holocine_ext.story.synonyms import OF_SCENE, OF_SHOT
from holocine_ext.story.words import hint
from holocine_ext.story.yaml_document import MOST_NODES, parse_yaml
from wan2.errors import InputError
from wan2.text.tokenizer import MAX_CHARACTERS, TokenizedPrompt

SCENE = {"global_caption": "A dock.", "shots": [{"caption": "Wide"}, {"caption": "Close", "cut_frame": 57}]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("57", 57),
        ("0", 0),
        ("-3", -3),
        ("+4", 4),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("2024-02-29", date(2024, 2, 29)),
        ("'5'", "5"),
        ("!!str 57", "57"),
        ("!!int 57", 57),
        *(
            (word, word)
            for word in ("057", "-012", "0o17", "0x1f", "0b1", "1_000", "1:30", "190:20:30.15", "08", "01.5")
        ),
        *(
            (word, word)
            for word in ("yes", "no", "on", "off", "y", "N", "Yes", "ON", "<<", "=", "12e", "2024-2-9", ".5.5")
        ),
    ],
)
def test_a_scalar_of_yaml_is_what_it_would_be_in_json_or_else_text(text: str, value: object):
    found = parse_yaml(f"a: {text}")
    assert found == {"a": value} and type(found["a"]) is type(value)  # type: ignore[index]


def test_what_json_and_yaml_both_write_they_read_alike():
    rng = random.Random(3)
    for _ in range(300):
        drawn: dict[str, Any] = {
            f"k{i}": rng.choice(
                [rng.randrange(-999, 999), rng.random(), True, None, "x", [1, "2"], {"a": "b"}, "0" * i]
            )
            for i in range(rng.randint(1, 6))
        }
        assert parse_yaml(json.dumps(drawn)) == drawn
        assert parse_yaml(yaml.safe_dump(drawn)) == drawn


@pytest.mark.parametrize(
    "text", ["057", "1:30", "0x39", "5_7", "yes", "!!int ''", "!!bool maybe", "!!float 1:1.5", "!!set {57}"]
)
def test_a_number_that_is_none_is_refused_where_one_is_wanted(text: str, tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text(f"global_caption: A\nshots:\n- caption: B\n- {{caption: C, cut_frame: {text}}}\n")
    with pytest.raises(InputError) as refused:
        from_file(path)
    assert str(refused.value).startswith(f"{path}: ") and len(str(refused.value).splitlines()) == 1


def test_captions_as_the_model_was_published_with_them():
    other = {"global_caption": "A dock.", "shot_captions": ["Wide", "Close"], "shot_cut_frames": [57], "num_frames": 81}
    ours = {**other, "shots": [{"caption": caption} for caption in other["shot_captions"]]}  # type: ignore[attr-defined]
    del ours["shot_captions"]
    assert from_document(other, "a.json") == from_document(ours, "a.json")


def test_every_synonym_names_a_field_or_a_flag_and_is_none_itself():
    for synonyms, known in ((OF_SCENE, FIELDS), (OF_SHOT, ("caption", *TIMES, *DIRECTION))):
        assert len(synonyms) > 30 and not set(synonyms) & set(known)
        for name, meant in synonyms.items():
            assert name == name.lower() and " " not in name
            assert any(field in meant for field in known) or "`" in meant or "shots" in meant


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Duration", "num_frames"),
        ("frame rate", "fps"),
        ("video-size", "size"),
        ("sede", "did you mean seed?"),
        ("global_capton", "did you mean global_caption?"),
        ("x" * 100_000, "known are"),
        (None, "known are"),
        (5, "known are"),
    ],
)
def test_hints_go_by_meaning_then_by_letters(name: object, said: str):
    assert said in hint(name, FIELDS, OF_SCENE)


@pytest.mark.parametrize(
    "text",
    [
        '"""\na.b.c.d.e.f.g.h.i.j = 1 ... ... ... ...\n"""',
        "'''a.b.c.d.e.f.g.h.i.j.k'''",
        '"a.b.c.d.e.f.g.h.i \\" . . . . . . . . . . . . . j.k"',
        '"x"  # a.b.c.d.e.f.g.h.i.j.k.l',
    ],
)
def test_dots_in_texts_and_comments_are_no_parts_of_a_key(text: str, tmp_path: Path):
    path = tmp_path / "a.toml"
    path.write_text(f'global_caption = {text}\n[[shots]]\ncaption = "x"\n')
    assert from_file(path).shot_captions == ("x",)


@pytest.mark.parametrize(
    "text",
    [
        "[" + ".".join("a" * 5000 for _ in "x") + "]",
        "[" + ".".join("a" * (MAX_PARTS + 1)) + "]",
        "[[" + ".".join("a" * 3000) + "]]",
        ".".join("b" * 3000) + " = 1",
        " . ".join(['"a"'] * 1000) + " = 1",
        "x = {" + ".".join(["'a'"] * 1500) + " = 1}",
        "x = [\n{" + ".".join("a" * 1500) + " = 1}]",
        'x = "a"\n' * 2 + ".".join("a" * 20) + "=1",
    ],
    ids=range(8),
)
def test_keys_of_many_parts_are_refused_unparsed(text: str, tmp_path: Path):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        from_file(path)
    assert "parts" in str(refused.value) or "unknown field" in str(refused.value)


def test_yaml_of_too_many_values(tmp_path: Path):
    path = tmp_path / "a.yaml"
    for text in ("- a\n" * 65_000, "a: [" + "[]," * 40_000 + "]", "{" + "a," * 60_000 + "}"):
        path.write_text(text)
        with pytest.raises(InputError, match=f"has more than {MOST_NODES} values$"):
            from_file(path)


@pytest.mark.parametrize("name", ["global_caption", "shots", "prompt", "together"])
def test_captions_longer_than_the_limit_are_refused_alone_and_together(name: str):
    text = "a " * (MAX_CHARACTERS // 2)
    many = [{"caption": "ab" * 500} for _ in range(MAX_CHARACTERS // 1000)]
    document = {
        "global_caption": {"global_caption": text + "b", "shots": SCENE["shots"]},
        "shots": {"global_caption": "A", "shots": [{"caption": text + "b"}]},
        "prompt": {"prompt": text + "b"},
        "together": {"global_caption": "A", "shots": many},
    }[name]
    with pytest.raises(InputError, match=f"characters; must be at most {MAX_CHARACTERS}$"):
        from_document(document, "a.json")


def test_the_tokens_of_a_caption_are_those_that_touch_it_first():
    rng = random.Random(1)
    for _ in range(200):
        shots = [" ".join("ab" for _ in range(rng.randint(1, 6))) for _ in range(rng.randint(1, 9))]
        text = "[global caption] xx [per shot caption] " + " [shot cut] ".join(shots)
        edges = sorted({0, len(text), *(rng.randrange(len(text)) for _ in range(rng.randint(1, 40)))})
        offsets = (*zip(edges, edges[1:], strict=False), (0, 0))
        spans = text_spans(TokenizedPrompt(text, tuple(range(len(offsets))), offsets))
        found = [span for span in (spans.global_span, *spans.shots) if span]
        assert found == sorted(found) and all(a[1] <= b[0] for a, b in zip(found, found[1:], strict=False))
        assert found[0][0] == 0 and found[-1][1] == len(offsets) - 1
