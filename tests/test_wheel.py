"""The built wheel, installed in an empty folder: it finds the miniature and the evaluator without this source tree."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("wan2", "holocine_ext", "pyproject.toml", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check")
OFFLINE = ("--no-index", "--no-deps")
SCENE = [
    "--global_caption",
    "The scene is a meadow. [character1] is a red ball.",
    "--shot_captions",
    "Wide shot of [character1] moving right by day.",
    "Close-up of [character1] standing still at night.",
]
TINY = [*SCENE, "--model", "nano", "--video_length", "9", "--infer_steps", "2", "--seed", "7", "--device", "cpu"]

Installed = Callable[..., str]
"""Name of a console command, its arguments -> what it prints; runs in an empty folder, with the wheel alone."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was installed in. It is built from a copy: setuptools writes into what it builds."""
    if not all(importlib.util.find_spec(name) for name in ("pip", "setuptools")):
        pytest.skip("needs pip and setuptools to build a wheel without the network")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    subprocess.run([*PIP, "wheel", *OFFLINE, "--no-build-isolation", "-w", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*PIP, "install", *OFFLINE, "--target", folder / "installed", wheel], check=True)
    return folder / "installed"


@pytest.fixture(scope="module")
def python(target: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Runs Python code in an empty folder, on the wheel and third-party packages; `-S` leaves out editable installs."""
    paths = [str(target), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "OMP_NUM_THREADS": "1"}
    cwd = tmp_path_factory.mktemp("empty")

    def run(code: str, *words: str) -> str:
        command = [sys.executable, "-S", "-c", code, *words]
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def command(target: Path, python: Installed) -> Installed:
    """Runs a console command of the wheel as its entry point says."""
    (found,) = distributions(path=[str(target)])
    entries = {entry.name: entry for entry in found.entry_points}

    def run(name: str, *words: str) -> str:
        entry = entries[name]
        return python(f"import sys; from {entry.module} import {entry.attr} as main; sys.exit(main())", *words)

    return run


def test_only_the_wheel_is_imported(target: Path, python: Installed):
    code = "import importlib.util as u; print(*(u.find_spec(name) and u.find_spec(name).origin for name in {}))"
    found = python(code.format(("wan2", "holocine_ext", "tools", "tests", "benchmarks"))).split()
    assert found == [*(str(target / name / "__init__.py") for name in ("wan2", "holocine_ext")), *["None"] * 3]


def test_it_holds_all_that_the_packages_hold(target: Path):
    for package in ("wan2", "holocine_ext"):
        files = {
            path.relative_to(root).as_posix()
            for root in (ROOT, target)
            for path in (root / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert [name for name in sorted(files) if not (target / name).is_file()] == []


def test_the_plan_of_the_miniature(command: Installed):
    assert "9 frames" in command("holocine-generate-video", *TINY, "--dry_run")


def test_it_makes_a_video_and_evaluates_it(command: Installed, tmp_path: Path):
    video, report = tmp_path / "scene.mp4", tmp_path / "report"
    made = command("holocine-generate-video", *TINY, "--save_path", str(video))
    assert str(video) in made.split()
    command("holocine-evaluate", str(video), "--detector", "nano", "--device", "cpu", "--save_path", str(report))
    document = json.loads((report / "report.json").read_text())
    assert [(one["video"], one["num_frames"]) for one in document["videos"]] == [("scene.mp4", 9)]
    assert document["ceiling"] and document["videos"][0]["shots"][0]["facts"]


@pytest.mark.parametrize(
    "name", ["wan2-generate-video", "holocine-generate-video", "holocine-evaluate", "holocine-studio"]
)
def test_every_command_has_its_help(name: str, command: Installed):
    assert "usage: " in command(name, "--help")
