"""`--download` against a hub on loopback: what is missing, how much it is, and on from where it broke off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holocine_ext.download import published_files
from tests.refused import refused
from tests.wan2.hub import COMMIT, Hub, serving
from wan2.request.presets import CHECKPOINTS
from wan2.weights.download import Missing, Remote, check_room

ROOT = Path(__file__).parents[2]
FILES = published_files("sparse")


@pytest.fixture
def hub() -> Iterator[Hub]:
    content = {f"{file.repository}/{file.name}": bytes([i]) * (3000 + i) for i, file in enumerate(FILES)}
    with serving(content | {"hlwang06/HoloCine/README.md": b"words"}) as found:
        yield found


def environment(hub: Hub, home: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def command(*words: str) -> list[str]:
    return [sys.executable, str(ROOT / "holocine_generate_video.py"), *words]


def run(hub: Hub, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = environment(hub, folder)
    return subprocess.run(command(*words), cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_what_is_missing_is_fetched_and_only_that(hub: Hub, tmp_path: Path):
    here = tmp_path / FILES[0].path
    here.parent.mkdir(parents=True)
    here.write_bytes(hub.content[f"{FILES[0].repository}/{FILES[0].name}"])
    (tmp_path / FILES[1].path).write_bytes(b"not whole")
    done = run(hub, tmp_path, "--download", "sparse")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(file.path) for file in FILES]
    assert f"4 of {len(FILES)} files are missing, 0.0 GB; " in done.stderr
    for file in FILES:
        assert (tmp_path / file.path).read_bytes() == hub.content[f"{file.repository}/{file.name}"]
    fetched = [line for line in hub.asked if not line.startswith("tree")]
    assert sorted(fetched) == sorted(f"{file.repository}/{file.name} from 0" for file in FILES[1:])
    hub.asked.clear()
    assert run(hub, tmp_path, "--download", "sparse", "--quiet").stderr == ""
    assert [line.split()[0] for line in hub.asked] == ["tree", "tree"]


def test_a_download_goes_on_from_where_it_was_broken_off(hub: Hub, tmp_path: Path):
    name = f"{FILES[0].repository}/{FILES[0].name}"
    hub.content[name] = os.urandom(30_000_000)
    hub.stop_after = 25_000_000
    begun = subprocess.Popen(
        command("--download", "sparse"), cwd=tmp_path, env=environment(hub, tmp_path), stderr=subprocess.PIPE
    )
    assert hub.stuck.wait(60)
    part = tmp_path / Missing(FILES[0], 0, COMMIT).part
    while not (part.exists() and part.stat().st_size):
        time.sleep(0.05)
    begun.kill()
    begun.wait()
    assert not (tmp_path / FILES[0].path).exists()
    hub.stop_after = None
    done = run(hub, tmp_path, "--download", "sparse")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / FILES[0].path).read_bytes() == hub.content[name]
    starts = [int(line.rpartition(" ")[2]) for line in hub.asked if line.startswith(name)]
    assert starts[0] == 0 and starts[1] > 0
    assert not part.exists()


def test_what_is_not_published_is_one_line(hub: Hub, tmp_path: Path):
    del hub.content[f"{FILES[1].repository}/{FILES[1].name}"]
    done = run(hub, tmp_path, "--download", "sparse")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"{FILES[1].repository} has no file {FILES[1].name}")
    hub.content.clear()
    done = run(hub, tmp_path, "--download", "full")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "cannot be fetched (RepositoryNotFoundError: " in last and last.endswith("); the same command goes on")
    assert not (tmp_path / CHECKPOINTS).exists()


def test_too_little_room_and_other_flags_are_refused(hub: Hub, tmp_path: Path):
    huge = Missing(Remote("a/b", "c", tmp_path / "c"), 1 << 60)
    with refused(rf"^--download: needs 1152921504.6 GB more, {tmp_path} has "):
        check_room([huge], tmp_path / "checkpoints")
    done = run(hub, tmp_path, "--download", "sparse", "--variant", "sparse")
    assert done.returncode == 2
    assert "--download: fetches files and makes nothing, so it cannot go with --variant" in done.stderr
    assert hub.asked == []


def test_the_base_is_fetched_in_half_the_bytes_to_where_a_run_looks():
    names = [file.name for file in published_files("base")]
    assert names[0] == "split_files/diffusion_models/wan2.2_t2v_high_noise_14B_fp16.safetensors"
    assert names[2:] == ["models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth", "google/umt5-xxl/tokenizer.json"]
    assert [file.name for file in FILES][:2] == [
        f"HoloCine_dit/sparse/sparse_{noise}_noise.safetensors" for noise in ("high", "low")
    ]
