"""YAML with the values of JSON and TOML. Knows nothing of what they mean.

PyYAML reads YAML 1.1, in which 057 is 47, 1:30 is 90, `no` is false and `<<` is no key. Here a scalar is a number where
it would be one in JSON, true or false only by these words, and else text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from datetime import date
from typing import Any, ClassVar

import yaml
from yaml.constructor import BaseConstructor, ConstructorError

from holocine_ext.story.words import describe, named

# Brackets within brackets; a storyboard needs three.
DEEPEST = 32
# The library takes about a second for so many.
MOST_NODES = 10_000
PREFIX = "tag:yaml.org,2002:"
# What a scalar of each kind looks like, and with which characters it can begin.
SCALARS = {
    "null": (r"(?:~|null|Null|NULL)?", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (
        r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    "timestamp": (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", list("0123456789")),
}


def parse_yaml(text: str) -> object:
    """The value of a YAML document.

    Raises:
        ValueError: a syntax error or a tag (with line and column), a key given twice, or too many values; one line.
        RecursionError: brackets nested too deeply.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"{error.problem or error.context}{place(error.problem_mark)}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def place(mark: yaml.Mark | None) -> str:
    """Where in the file, for the end of a message."""
    return f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""


class _Loader(yaml.SafeLoader):
    """The safe loader with other scalars, which would also keep the last of two equal keys, and looks at every open
    bracket again at each token."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    yaml_constructors: ClassVar[dict[Any, Any]] = {}
    nodes = 0

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        if self.flow_level >= DEEPEST:
            raise RecursionError
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise ValueError(f"has more than {MOST_NODES} values")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        table = BaseConstructor.construct_mapping(self, node, deep)  # without the merging of YAML 1.1
        keys = set()
        for name, _ in node.value:
            key = self.construct_object(name, deep=True)
            if key in keys:
                raise ValueError(f"{named(key)}: given twice{place(name.start_mark)}")
            keys.add(key)
        return table


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> object:
    """The value of a scalar that looks like one of `SCALARS`, by itself or because a tag says so."""
    kind, text = node.tag.removeprefix(PREFIX), loader.construct_scalar(node)
    if not re.fullmatch(SCALARS[kind][0], text):
        raise ConstructorError(problem=f"{describe(text)} is not of the kind {kind}", problem_mark=node.start_mark)
    try:
        return CONVERTED[kind](text)
    except ValueError as error:  # a month 13, a number of thousands of digits
        raise ConstructorError(problem=str(error), problem_mark=node.start_mark) from error


CONVERTED: dict[str, Callable[[str], object]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "timestamp": date.fromisoformat,
}
for _kind, (_pattern, _first) in SCALARS.items():
    _Loader.add_implicit_resolver(PREFIX + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)
    _Loader.yaml_constructors[PREFIX + _kind] = _scalar
for _kind in ("str", "seq", "map"):
    _Loader.yaml_constructors[PREFIX + _kind] = yaml.SafeLoader.yaml_constructors[PREFIX + _kind]
_Loader.yaml_constructors[None] = yaml.SafeLoader.construct_undefined
