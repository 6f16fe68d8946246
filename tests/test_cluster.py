"""A list made on a cluster of Ray: two machines, here two raylets, one of which is lost in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from holocine_ext.cli import main
from wan2.cli.cluster import Lines, without

SCENES = 4
WORDS = ["--model", "nano", "--device", "cpu", "--output_type", "latent", "--infer_steps", "4", "--video_size", "32"]
WORDS += ["48", "--video_length", "9", "--from_file"]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of two machines with a processor each, for one scene at a time."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
    cluster.lost = cluster.add_node(**machine)
    yield cluster
    cluster.shutdown()


def when(true: Callable[[], object], then: Callable[[], object]) -> threading.Thread:
    """A thread that waits for something, and then does something."""

    def look() -> None:
        while not true():
            time.sleep(0.05)
        then()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    return thread


def test_every_line_is_made_though_a_machine_is_lost(
    cluster: Any,  # noqa: ANN401
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in range(SCENES):
        (tmp_path / f"{number}.json").write_text(f'{{"prompt": "A ball", "seed": {number}}}')
    listed = tmp_path / "scenes.txt"
    listed.write_text("\n".join(f"{number}.json" for number in range(SCENES)))
    words = [*WORDS, str(listed), "--save_path"]
    far, near = tmp_path / "far", tmp_path / "near"
    losing = when(lambda: any(far.glob("*.safetensors")), lambda: cluster.remove_node(cluster.lost, False))
    assert main([*words, str(far / "a.safetensors"), "--cluster", cluster.address]) == 0
    losing.join()
    said = capsys.readouterr()
    names = [f"a-{number:03d}.safetensors" for number in range(1, SCENES + 1)]
    assert sorted(Path(line).name for line in said.out.splitlines() if line.endswith(".safetensors")) == names
    assert "4 lines on 2 groups of cards" in said.err and "scenes.txt:4: Denoising" in said.err
    assert main([*words, str(near / "a.safetensors")]) == 0
    for name in names:
        one, other = (load_file(folder / name)["latents"] for folder in (far, near))
        assert torch.equal(one, other)
    assert not list(far.glob("*.state*"))


def test_no_cluster_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    (tmp_path / "list.txt").write_text("a.json\n")
    assert main([*WORDS, str(tmp_path / "list.txt"), "--cluster", "127.0.0.1:1"]) == 2
    assert "--cluster 127.0.0.1:1: no cluster there" in capsys.readouterr().err.splitlines()[-1]


def test_the_words_of_a_line_leave_the_cluster_out() -> None:
    words = ["--cluster", "auto", "--from_file", "a.txt", "--cluster=auto", "--gpus", "2"]
    assert without(words) == ["--from_file", "a.txt", "--gpus", "2"]


def test_what_is_written_is_handed_on_by_lines() -> None:
    said: list[tuple[str, str]] = []
    lines = Lines("err", said.append)
    assert lines.write("one\ntw") == 6
    lines.write("o\rthree\r")
    assert said == [("err", "one"), ("err", "two"), ("err", "three")]
