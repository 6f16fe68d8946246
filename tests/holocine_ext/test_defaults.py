"""`holocine.toml`: where it is looked for, what stands in its place, and what is refused with its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holocine_ext.cli import build_parser
from holocine_ext.defaults import KNOWN, with_defaults
from tests.refused import refused
from wan2.cli.asked import given_values


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an empty folder of settings of a person."""
    (tmp_path / "here").mkdir()
    (tmp_path / "config/holocine").mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def taken(*words: str) -> tuple[dict[str, Any], list[str]]:
    """What the files add to a command line, and what is said of it."""
    given, said = given_values(build_parser().parse_args(words)), list[str]()
    found = with_defaults(given, said.append)
    return {name: value for name, value in found.items() if given.get(name) != value}, said


def test_the_nearest_file_holds_field_by_field(folders: Path):
    (folders / "config/holocine/holocine.toml").write_text('models_dir = "m"\nvram_budget = 8\n')
    (folders / "here/holocine.toml").write_text('vram_budget = 24\nsave_path = "films"\n')
    (folders / "film").mkdir()
    (folders / "film/holocine.toml").write_text('save_path = "out"\n')
    found, said = taken("--storyboard", str(folders / "film/a.toml"))
    assert found == {
        "save_path": folders / "film/out",
        "vram_budget": 24.0,
        "models_dir": folders / "config/holocine/m",
    }
    assert said[1] == "holocine.toml: vram_budget 24.0" and len(said) == 3


def test_a_flag_wins_and_nothing_is_said_where_nothing_is_taken(folders: Path):
    (folders / "here/holocine.toml").write_text("vram_budget = 24\nvae_tiling = [64, 96]")
    assert taken("--vram_budget", "12", "--vae_tiling", "32", "32") == ({}, [])
    assert taken()[0] == {"vram_budget": 24.0, "tile_height": 64, "tile_width": 96}


def test_a_film_that_is_settled_keeps_what_decides_it(folders: Path):
    (folders / "here/holocine.toml").write_text(
        'dtype = "bfloat16"\nvram_budget = 8\nblocks_to_swap = 2\nmodels_dir = "m"'
    )
    assert taken("--take", "a.mp4")[0].keys() == {"vram_budget", "blocks_to_swap", "models_dir"}
    assert taken("--resume", "a.state.safetensors")[0].keys() == {"vram_budget", "blocks_to_swap"}
    assert taken("--latent_path", "a.safetensors")[0].keys() == {"dtype", "vram_budget", "models_dir"}
    assert taken("--resume", "--storyboard", "a.toml")[0].keys() >= {"dtype"}


def test_it_holds_what_is_about_the_machine_and_the_output():
    assert {"models_dir", "vram_budget", "save_path", "device", "gpus", "output_type", "vae_tiling"} <= set(KNOWN)
    assert not {"overwrite", "infer_steps", "seed", "prompt", "resume"} & set(KNOWN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("infer_steps = 5", "infer_steps: unknown field; it belongs in settings of a storyboard"),
        ("budget = 5", "budget: unknown field; did you mean vram_budget?"),
        ("overwrite = true", "overwrite: unknown field; it is said for one run only"),
        ("vram_budget = -1", "vram_budget -1: must lie between 0"),
        ('vram_budget = "24"', "vram_budget '24': cannot be used"),
        ("models_dir = 5", "models_dir 5: must be text"),
        ("save_path = 5", "save_path 5: cannot be used"),
        ("vae_tiling = [64]", r"vae_tiling \[64\]: must be \[height, width\]"),
        ("vram_budget = ", "Invalid value"),
    ],
)
def test_what_is_wrong_is_refused_with_the_name_of_the_file(text: str, said: str, folders: Path):
    (folders / "here/holocine.toml").write_text(text)
    with refused(f"^holocine.toml: {said}"):
        taken("--prompt", "a gull")
