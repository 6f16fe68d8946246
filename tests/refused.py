"""Refusals of the library, held against the line that the command line makes of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from holocine_ext.cli import build_parser
from wan2.cli.flags import line_of
from wan2.errors import InputError

FLAGS = build_parser().names()


def said(error: BaseException) -> str:
    """What a person reads on the command line."""
    return line_of(error, FLAGS)


@contextmanager
def refused(pattern: str, kind: type[InputError] = InputError) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """A block that must be refused, with a line in which the pattern is found; what was raised is the block's value."""
    with pytest.raises(kind) as caught:
        yield caught
    assert re.search(pattern, line := said(caught.value)), line
