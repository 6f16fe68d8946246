"""Names that are not text, and folders in which nothing may be made: real runs of the real scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import QUICK, TinyModel

ROOT = Path(__file__).parents[1]
BYTES = b"a\xff.json"


def started(script: str, *words: str | bytes | Path, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, str(ROOT / script), *words], cwd=cwd, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("script", "flag"),
    [
        *(("holocine_generate_video.py", flag) for flag in ("--storyboard", "--from_file", "--vae", "--save_path")),
        *(("wan2_generate_video.py", flag) for flag in ("--resume", "--lora_weight", "--tokenizer", "--latent_path")),
    ],
)
def test_a_path_that_is_not_utf8_is_refused_before_the_run(script: str, flag: str, tmp_path: Path):
    (tmp_path / os.fsdecode(BYTES)).write_text('{"global_caption": "A", "shots": [{"caption": "Wide"}]}')
    done = started(script, flag, BYTES, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().endswith(f": {flag} a\\xff.json: its whole path is not UTF-8 text\n")
    assert [path.name for path in tmp_path.iterdir()] == [os.fsdecode(BYTES)]


@pytest.mark.parametrize("flag", ["--prompt", "--negative_prompt", "--device", "--fps", "--output_type", "--nothing"])
def test_a_word_that_is_not_utf8_is_refused_in_one_line(flag: str, tiny: TinyModel, tmp_path: Path):
    words = [*tiny.flags(), *QUICK, "--prompt", "a gull", flag, b"\xff\x1b[2J"]
    done = started("wan2_generate_video.py", *words, cwd=tmp_path)
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 2 and flag in line and "\x1b" not in line
    assert not list(tmp_path.iterdir())


def test_nothing_is_made_in_the_working_directory_that_was_not_asked_for(tiny: TinyModel, tmp_path: Path):
    (tmp_path / "here").mkdir()
    words = [*tiny.flags(), *QUICK, "--prompt", "a gull", "--save_path", tmp_path / "out/a.mp4"]
    done = started("wan2_generate_video.py", *words, cwd=tmp_path / "here")
    assert done.stdout.decode().splitlines() == [
        str(tmp_path / "out" / name) for name in ("a.mp4", "a.safetensors", "a.json")
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"here", "out"}
    assert not list((tmp_path / "here").iterdir())
