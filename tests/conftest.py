"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import TinyModel, write_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A complete model with random weights."""
    return write_tiny_model(Path(tmp_path_factory.mktemp("tiny")))
