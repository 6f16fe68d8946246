"""One video on several cards, here processes of the CPU: the same latents as on one, whoever does what."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import wan2.cli.main
from holocine_ext import (
    Cards,
    Compute,
    InputError,
    Output,
    Plan,
    Request,
    RunError,
    Sampling,
    Session,
    Storyboard,
    models,
)
from holocine_ext.cli import main
from holocine_ext.shots.flops import shot_groups
from tests.tiny import QUICK, write_tiny_model
from tests.wan2.held_files import branch_flags, held_flags
from wan2.events import Finished
from wan2.models.conditioning import Conditioning, dense_attention
from wan2.parallel import crew
from wan2.parallel.launched import Launched, launched
from wan2.parallel.orders import Pass, from_bytes, to_bytes
from wan2.plan.split import Split
from wan2.plan.traffic import exchanged

ROOT = Path(__file__).parents[1]
# Frames of the shots.
LENGTHS = {1: (9,), 3: (9, 16, 4), 13: (5, *(4,) * 12)}
SAME, NEAR = 0.0, 1e-5  # of the norm; with heads exchanged, the chunks of a linear differ in length
SAMPLING = Sampling(infer_steps=3, flow_shift=5.0, sample_solver="euler")
# Ways of sharing, by variant and number of cards: the number of shots, and how far from the latents of one card.
SHARED = {
    ("full", 2): [("cfg", 3, SAME), ("ulysses", 3, NEAR)],
    ("sparse", 3): [("shots", 3, SAME), ("ulysses", 1, NEAR), ("auto", 13, SAME)],
    ("sparse", 4): [("cfg+shots", 13, SAME), ("cfg+ulysses", 3, NEAR)],
}
Planned = Callable[..., Plan]


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Planned]:
    """Plans a clip of so many shots."""
    names = iter(range(100))

    def plan(variant: str, shots: int, cards: Cards = Cards(), **more: object) -> Plan:  # noqa: B008 - frozen
        frames = LENGTHS[shots]
        cuts = [sum(frames[:number]) for number in range(1, shots)]
        scene = Storyboard.of("A ball and a box.", [f"View {number}." for number in range(shots)], cuts)
        output = Output(tmp_path / f"{next(names)}.safetensors", output_type="latent", save_every=1)
        made = Request(
            scene, models["nano"][variant], seed=4, size=(32, 48), num_frames=sum(frames), sampling=SAMPLING,
            compute=Compute(device="cpu", **more), cards=cards, output=output,
        )  # fmt: skip
        return made.plan()

    yield plan


def made(session: Session, plan: Plan) -> Tensor:
    (latents,) = [event.latents for event in session.run(plan) if isinstance(event, Finished)]
    return latents


def test_weights_in_few_bits_are_shared_as_others_are(tmp_path: Path) -> None:
    """An expert in GGUF, one in int8, LoRAs beside both."""
    model = write_tiny_model(tmp_path / "model")
    flags = [*held_flags(model, tmp_path, "gguf", "int8"), *branch_flags(tmp_path), *QUICK, "--flow_shift", "5"]
    flags += ["--prompt", "a ball", "--output_type", "latent"]
    paths = [tmp_path / f"{cards}.safetensors" for cards in (1, 2)]
    for cards, path in enumerate(paths, 1):
        assert wan2.cli.main.main([*flags, "--save_path", str(path), "--gpus", str(cards)]) == 0
    alone, shared = (load_file(path)["latents"] for path in paths)
    assert torch.equal(alone, shared)


def attention_bytes(session: Session) -> int:
    """Bytes that attentions of the first process have sent since the last call, or received if that is more."""
    assert session._models is not None and session._models.together is not None
    counted = session._models.together.mesh.attention
    most, counted.sent, counted.received = max(counted.sent, counted.received), 0, 0
    return most


def predicted(one: Plan) -> int:
    """The same by the formulas of the plan."""
    work, layout = one.base.work, one.asked.layout
    assert work is not None and work.split is not None and layout is not None
    groups = shot_groups(layout) if work.split.owners else None
    of_block = exchanged(work.split, work.config, groups, layout.tokens, 4)
    return 3 * of_block * work.config.num_layers * 2 // work.split.passes


@pytest.fixture(scope="module")
def alone() -> dict[tuple[str, int], Tensor]:
    """Latents made on one card, by variant and number of shots."""
    return {}


@pytest.mark.parametrize(("variant", "cards"), SHARED)
def test_the_latents_are_those_of_one_card(
    plan: Planned, alone: dict[tuple[str, int], Tensor], variant: str, cards: int
) -> None:
    cases = SHARED[variant, cards]
    wanted = {shots: plan(variant, shots) for _, shots, _ in cases if (variant, shots) not in alone}
    for shots, one in wanted.items():
        with Session(one.model, one.compute) as session:
            alone[variant, shots] = made(session, one)
    # Half of the blocks streamed: every process has a ring of its own.
    plans = [plan(variant, shots, Cards(cards, how), blocks_to_swap=cards % 2 * 2) for how, shots, _ in cases]
    with Session(plans[0].model, plans[0].compute, cards=Cards(cards)) as session:
        for (how, shots, allowed), one in zip(cases, plans, strict=True):
            latents, exact = made(session, one), alone[variant, shots]
            error = float((latents - exact).norm() / exact.norm())
            assert error <= allowed, (how, shots, error)
            # Heads and shots of more than two cards differ from one to the next.
            counted = attention_bytes(session)
            assert counted == predicted(one) or (cards > 2 and 0.7 < counted / predicted(one) < 1.3), how
    assert not psutil.Process().children()


def test_a_process_that_is_killed_ends_the_run_and_it_goes_on_with_one_card(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "holocine_generate_video.py")]
    words = ["--model", "nano", "--prompt", "A ball.", "--device", "cpu", "--output_type", "latent", "--seed", "3"]
    words += ["--infer_steps", "12", "--save_every", "1", "--save_path"]
    state = tmp_path / "a.state.safetensors"
    command = [*script, *words, str(tmp_path / "a.safetensors"), "--gpus", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        while not state.exists():
            assert run.poll() is None
            time.sleep(0.01)
        (other,) = psutil.Process(run.pid).children()
        other.kill()
        said = run.communicate(timeout=30)[1]
    assert run.returncode == 1 and not other.is_running()
    assert said.splitlines()[-1].startswith(
        f"holocine_generate_video: process 2 of 2 was killed by SIGKILL; all were ended; to go on: {sys.executable} "
    )
    assert main(["--resume", str(state)]) == 0
    assert main([*words, str(tmp_path / "b.safetensors")]) == 0
    first, second = (load_file(tmp_path / f"{name}.safetensors")["latents"] for name in "ab")
    assert torch.equal(first, second)


ENDS = {
    "sys.exit(3)": "process 2 of 3 ended with exit code 3; all were ended",
    "print(json.dumps(dict(error='out of memory.', input=False)))": "process 2 of 3: out of memory.",
    "os.kill(os.getpid(), 11)": "process 2 of 3 was killed by SIGSEGV; all were ended",
    "time.sleep(60)": "process 2 of 3 gave no sign of life for 2 seconds; all were ended",
}


@pytest.mark.parametrize(("does", "said"), ENDS.items())
def test_a_process_that_ends_or_hangs_ends_all(monkeypatch: pytest.MonkeyPatch, does: str, said: str) -> None:
    monkeypatch.setattr(crew, "SILENCE", 2.0)
    lives = "while True:\n  print(flush=True); time.sleep(0.1)"
    code = "import json, os, sys, time\nif {rank} == 1: " + does + "; sys.exit(1)\n" + lives
    monkeypatch.setattr(crew, "START", code)
    watched = crew.Crew(3)
    others = psutil.Process().children()
    began = time.monotonic()
    with pytest.raises(RunError) as caught, watched.exchanging():
        while time.monotonic() < began + 30:
            watched.check()
            time.sleep(0.01)
    assert str(caught.value) == said
    watched.close(told=False)
    assert len(others) == 2 and not any(one.is_running() for one in others)


TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "box",
    "MASTER_PORT": "29500",
}


def test_processes_of_torchrun_know_who_they_are() -> None:
    found = launched(TORCHRUN)
    assert found == Launched(rank=3, size=4, local=1, here=2, address="box", port=29500)
    assert launched({}) is None and launched(TORCHRUN | {"WORLD_SIZE": "1"}) is None
    with pytest.raises(InputError, match="MASTER_PORT is not set"):
        launched(TORCHRUN | {"MASTER_PORT": ""})
    found.fail()
    with pytest.raises(RunError, match="were ended"), found.exchanging():
        pass


def test_orders_travel_whole() -> None:
    text, mask = torch.randn(1, 3, 4).bfloat16(), torch.ones(1, 1, 2, 2, 2)
    positive = Conditioning(text, dense_attention, dense_attention, mask)
    order = Pass(Split("cfg", 2, (((0, 8),),)), torch.tensor(875.5), (1, 16, 2, 4, 4), (positive,))
    found = from_bytes(to_bytes(order), torch.device("cpu"))
    assert isinstance(found, Pass) and found.passes is not None
    assert found.split == order.split and torch.equal(found.timestep, order.timestep)
    (same,) = found.passes
    assert torch.equal(same.context, positive.context) and same.context.dtype == torch.bfloat16
    assert same.self_attn == dense_attention
    assert same.extra_channels is not None and torch.equal(same.extra_channels, mask)
