"""Where compiled code is kept: in a folder of the user's caches, and only when it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.refused import refused
from wan2.cli.main import check_cache, prepare
from wan2.request.flat import make_request
from wan2.request.presets import WAN22_T2V
from wan2.request.request import Request

PLAIN = make_request(WAN22_T2V, {"prompt": "a gull"})
COMPILED = make_request(WAN22_T2V, {"prompt": "a gull", "compile": True})


def kept_in(options: Request, monkeypatch: pytest.MonkeyPatch, **variables: Path) -> str:
    """What PyTorch is given as the folder, when only these variables are set."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "WAN2_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(variables.get(name, "")))
    prepare(options)
    return os.environ["TORCHINDUCTOR_CACHE_DIR"]


def test_what_is_compiled_stays_where_the_next_run_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home, moved, theirs = (tmp_path / name for name in ("home", "moved", "theirs"))
    monkeypatch.chdir(tmp_path)
    assert kept_in(PLAIN, monkeypatch, XDG_CACHE_HOME=home) == ""
    assert kept_in(COMPILED, monkeypatch, XDG_CACHE_HOME=home) == str(home / "wan2/compiled")
    assert kept_in(COMPILED, monkeypatch, XDG_CACHE_HOME=home, WAN2_CACHE=moved) == str(moved / "compiled")
    assert kept_in(COMPILED, monkeypatch, WAN2_CACHE=moved, TORCHINDUCTOR_CACHE_DIR=theirs) == str(theirs)
    assert not list(tmp_path.iterdir())


def test_only_what_compiles_needs_a_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.setenv("WAN2_CACHE", str(tmp_path / "file"))
    check_cache(PLAIN.compute)
    with refused(r"--compile: the cache folder .*/file/compiled cannot be written to; WAN2_CACHE"):
        check_cache(COMPILED.compute)
