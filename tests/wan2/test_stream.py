from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.wan2.reference import CASES, CONFIG, DATA, TENSORS, windows
from wan2.errors import InputError, RunError
from wan2.models.conditioning import Conditioning, dense_attention
from wan2.models.layers import Block
from wan2.sampling.denoise import DenoisePlan, denoise
from wan2.streaming import copies
from wan2.streaming import phases as phases_module
from wan2.streaming import ring as stream
from wan2.streaming.copies import HostCopyStream
from wan2.streaming.layout import ALIGNMENT, BlockFile, StoredBlock, block_layout
from wan2.streaming.phases import Phase, Placement, transformers
from wan2.streaming.residency import spread
from wan2.streaming.ring import THREAD_NAME, block_ring
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.reader import TensorReader
from wan2.weights.sources import Source

CPU = torch.device("cpu")
LAYERS = CONFIG.num_layers
PASSES = [Conditioning(TENSORS["1.context"], cross_attn=windows(CASES["cases"][1])), Conditioning(TENSORS["0.context"])]
Reads = list[tuple[str, int]]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Both experts, as files that a test may damage."""
    for name in ("high", "low"):
        save_file(load_file(DATA / f"dit_{name}_noise.safetensors"), tmp_path / name, {"num_heads": "4"})
    return {name: tmp_path / name for name in ("high", "low")}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Every block read, in order."""
    found: Reads = []
    read = BlockFile.read

    def noted(self: BlockFile, index: int, memory: Tensor) -> None:
        read(self, index, memory)
        found.append((self.path.name, index))

    monkeypatch.setattr(BlockFile, "read", noted)
    return found


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert readers() == []


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


def phases_of(files: dict[str, Path], *passes: int) -> list[Phase]:
    return [Phase(name, inspect_transformer(files[name]), count) for name, count in zip(files, passes, strict=False)]


def ram_or_two(placement: Placement) -> int:
    """The places of a device that is not the host."""
    return placement.streamed if placement.weights_from == "ram" else 2


def velocities(model: torch.nn.Module, timestep: float = 875.0) -> list[Tensor]:
    with torch.inference_mode():
        return model.passes(TENSORS["1.latents"], torch.tensor(timestep), PASSES)  # type: ignore[operator]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("weights_from", ["ram", "disk"])
@pytest.mark.parametrize("streamed", range(LAYERS + 1))
def test_streamed_is_resident_bit_for_bit(
    files: dict[str, Path], streamed: int, weights_from: str, dtype: torch.dtype
) -> None:
    with transformers(
        phases_of(files, 3, 2), Placement(CPU, dtype, streamed=streamed, weights_from=weights_from)
    ) as load:
        for name, count in (("high", 3), ("low", 2)):
            resident, model = load_transformer(inspect_transformer(files[name]), CPU, dtype), load(name)
            for timestep in (999.0, 900.0, 100.0)[:count]:
                assert same(velocities(model, timestep), velocities(resident, timestep))


def test_scaled_fp8_is_multiplied_out_on_the_way(files: dict[str, Path]) -> None:
    stored = load_file(files["high"])
    for name in [name for name in stored if ".ffn." in name and name.endswith(".weight")]:
        scale = stored[name].abs().amax() / 448
        stored |= {name: (stored[name] / scale).to(torch.float8_e4m3fn), name.replace("weight", "scale_weight"): scale}
    save_file(stored, files["high"], {"num_heads": "4"})
    with transformers(phases_of(files, 1), Placement(CPU, torch.bfloat16, streamed=LAYERS)) as load:
        assert same(
            velocities(load("high")),
            velocities(load_transformer(inspect_transformer(files["high"]), CPU, torch.bfloat16)),
        )


def test_blocks_come_in_order_and_once_for_both_passes(files: dict[str, Path], reads: Reads) -> None:
    with transformers(phases_of(files, 2, 1), Placement(CPU, torch.float32, streamed=3)) as load:
        high = load("high")
        velocities(high)
        velocities(high)
        velocities(load("low"))
    assert reads == [("high", i) for i in (0, 1, 2, 0, 1, 2)] + [("low", i) for i in (0, 1, 2)]


@pytest.mark.parametrize("weights_from", ["ram", "disk"])
def test_passes_apart_read_every_block_twice_to_the_same_bits(
    files: dict[str, Path], reads: Reads, weights_from: str
) -> None:
    with transformers(
        phases_of(files, 4, 2), Placement(CPU, torch.float32, streamed=3, weights_from=weights_from, apart=True)
    ) as load:
        made = [velocities(load(name)) for name in ("high", "low")]
    wanted = [
        velocities(load_transformer(inspect_transformer(files[name]), CPU, torch.float32)) for name in ("high", "low")
    ]
    assert all(same(a, b) for a, b in zip(made, wanted, strict=True))
    rounds = 2 if weights_from == "disk" else 1
    assert [read for read in reads if read[0] == "low"] == [("low", i) for i in (0, 1, 2)] * rounds


def test_memory_is_read_into_once_a_turn(files: dict[str, Path], reads: Reads) -> None:
    with transformers(phases_of(files, 3, 2), Placement(CPU, torch.float32, streamed=3, weights_from="ram")) as load:
        high = load("high")
        for _ in range(3):
            velocities(high)
        low = load("low")
        for _ in range(2):
            velocities(low)
    assert reads == [(name, i) for name in ("high", "low") for i in (0, 1, 2)]


def test_the_bytes_read_are_those_of_the_blocks(files: dict[str, Path]) -> None:
    file = inspect_transformer(files["high"])
    layout = block_layout(CONFIG, torch.float32)
    source = BlockFile(file, [layout] * LAYERS)
    source.read(1, torch.empty(layout.nbytes, dtype=torch.uint8))
    stored = [entry for name, entry in file.header.entries.items() if name.startswith("blocks.1.")]
    assert source.bytes_read == sum(entry.end - entry.start for entry in stored)
    assert source.bytes_read <= layout.nbytes < source.bytes_read + len(stored) * ALIGNMENT


@pytest.mark.parametrize("weights_from", ["ram", "disk"])
def test_the_next_transformer_is_fetched_while_the_last_blocks_run(
    files: dict[str, Path], reads: Reads, weights_from: str
) -> None:
    with transformers(
        phases_of(files, 1, 1), Placement(CPU, torch.float32, streamed=3, weights_from=weights_from)
    ) as load:
        high = load("high")
        velocities(high)
        eventually(lambda: ("low", 1) in reads)
        assert ("low", 2) not in reads
        assert same(
            velocities(load("low")), velocities(load_transformer(inspect_transformer(files["low"]), CPU, torch.float32))
        )


def test_the_next_streamed_block_is_fetched_into_the_cache_once_one_is_copied(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last it is the first again, for the next pass; a block that is not streamed is left alone."""
    events: list[str] = []
    read, copy, expect = TensorReader.read_into, HostCopyStream.copy, TensorReader.expect

    def expected(self: TensorReader, names: Iterable[str]) -> None:
        names = list(names)
        expect(self, names)
        events.extend({f"expect {name.split('.')[1]}" for name in names})
        assert len(names) == len(CONFIG.block_shapes())

    def noted(self: TensorReader, source: Source, out: Tensor) -> None:
        read(self, source, out)
        events.append(f"read {source.name.split('.')[1]}")

    def copied(self: HostCopyStream, *args: Any) -> None:  # noqa: ANN401
        events.append("copy")
        copy(self, *args)

    monkeypatch.setattr(phases_module, "staging_buffers", ram_or_two)
    for owner, name, value in (
        (HostCopyStream, "copy", copied),
        (TensorReader, "expect", expected),
        (TensorReader, "read_into", noted),
    ):
        monkeypatch.setattr(owner, name, value)
    with transformers(phases_of(files, 2), Placement(CPU, torch.float32, streamed=3)) as load:
        high = load("high")
        for _ in range(2):
            velocities(high)
    turns = [event for event, _ in itertools.groupby(events) if event.split()[-1] in ("copy", "0", "1", "2")]
    assert turns == [word for n in range(3) for word in (f"read {n}", "copy", f"expect {(n + 1) % 3}")] * 2
    events.clear()
    source = BlockFile(inspect_transformer(files["high"]), [block_layout(CONFIG, torch.float32)] * LAYERS, (0, 2))
    for index in (0, 2):
        source.read_ahead(index)
    assert events == ["expect 2", "expect 0"]


def eventually(holds: object) -> None:
    end = time.monotonic() + 10
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("places", [0, 2, 3])
def test_a_block_in_use_is_not_written_and_the_reader_runs_ahead(
    files: dict[str, Path], reads: Reads, places: int
) -> None:
    layout = block_layout(CONFIG, torch.float32)
    source = BlockFile(inspect_transformer(files["high"]), [layout] * LAYERS)
    expected = load_file(files["high"])
    orders = [StoredBlock(source, index) for index in (0, 1, 2)]
    with block_ring([layout], itertools.cycle(orders), CPU, [layout.nbytes] * places) as ring:
        for turn, order in enumerate(orders * 3):
            with ring.use(order) as block:
                if not places:
                    eventually(lambda turn=turn: len(reads) == turn + 2)
                time.sleep(0.02)
                assert holds(block, expected, order.index)


def holds(block: Block, expected: dict[str, Tensor], index: int) -> bool:
    return all(torch.equal(value, expected[f"blocks.{index}.{name}"]) for name, value in block.state_dict().items())


class LateCopies(copies.HostCopyStream):
    """A copy engine that does every copy as late as it may: when somebody waits for it."""

    def __init__(self) -> None:
        self.queued: list[tuple[int, Tensor, int, Tensor]] = []
        self.lock = threading.Lock()

    def copy(self, place: int, source: Tensor, slot: int, target: Tensor) -> None:
        with self.lock:
            self.queued.append((place, source, slot, target))

    def wait_for_buffer(self, place: int) -> None:
        self.flush(lambda copy: copy[0] == place)

    def begin_use(self, slot: int) -> None:
        self.flush(lambda copy: copy[2] == slot)

    def flush(self, due: Callable[[tuple[int, Tensor, int, Tensor]], bool]) -> None:
        with self.lock, torch.inference_mode():
            for _, source, _, target in filter(due, self.queued):
                target.copy_(source)
            self.queued = [copy for copy in self.queued if not due(copy)]


@pytest.mark.parametrize("weights_from", ["ram", "disk"])
@pytest.mark.parametrize("streamed", [1, 2, 3])
def test_copies_that_come_late_change_nothing(
    files: dict[str, Path], streamed: int, weights_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "copy_stream", lambda *_: LateCopies())
    monkeypatch.setattr(phases_module, "staging_buffers", ram_or_two)
    with transformers(
        phases_of(files, 3, 2), Placement(CPU, torch.float32, streamed=streamed, weights_from=weights_from)
    ) as load:
        for name, count in (("high", 3), ("low", 2)):
            resident, model = load_transformer(inspect_transformer(files[name]), CPU, torch.float32), load(name)
            assert all(same(velocities(model), velocities(resident)) for _ in range(count))


@pytest.mark.parametrize("weights_from", ["ram", "disk"])
def test_host_memory_is_written_only_after_its_copy_was_awaited(
    files: dict[str, Path], reads: Reads, weights_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    awaited: list[int] = []
    monkeypatch.setattr(copies.HostCopyStream, "wait_for_buffer", lambda *_: awaited.append(len(reads)))
    monkeypatch.setattr(phases_module, "staging_buffers", ram_or_two)
    with transformers(
        phases_of(files, 2, 2), Placement(CPU, torch.float32, streamed=3, weights_from=weights_from)
    ) as load:
        for name in files:
            model = load(name)
            velocities(model)
            velocities(model)
    assert awaited == list(range(len(reads)))
    assert len(reads) == (6 if weights_from == "ram" else 12)


def test_a_block_out_of_turn_is_refused(files: dict[str, Path]) -> None:
    with transformers(phases_of(files, 1), Placement(CPU, torch.float32, streamed=3)) as load:
        model = load("high")
        velocities(model)
        with pytest.raises(RuntimeError, match=r"block 0 of .*high is wanted, next is none"):
            velocities(model)


@pytest.mark.parametrize("weights_from", ["ram", "disk"])
def test_a_file_that_got_shorter_is_one_clear_error(files: dict[str, Path], weights_from: str) -> None:
    with (
        pytest.raises(RunError, match=r"^reading block \d failed: .*high: ends inside tensor blocks\.\d\..*"),
        transformers(phases_of(files, 9), Placement(CPU, torch.float32, streamed=3, weights_from=weights_from)) as load,
    ):
        model = load("high")
        with files["high"].open("rb+") as file:
            file.truncate(file.seek(0, 2) // 3)
        for _ in range(9):
            velocities(model)
    assert readers() == []


def test_an_error_of_the_disk_is_one_clear_error(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with transformers(phases_of(files, 2), Placement(CPU, torch.float32, streamed=3)) as load:
        model = load("high")
        velocities(model)

        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("wan2.weights.reader.TensorReader.read_into", fail)
        eventually(lambda: model._ring._due[-1][2].done())  # type: ignore[union-attr]
        with pytest.raises(RunError, match=r"high: reading block \d failed: Input/output error"):
            for _ in range(2):
                velocities(model)


class Pins:
    """Stands for the driver: remembers what is pinned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
        self.pinned: list[int] = []
        self.code = code
        monkeypatch.setattr(copies.HostCopyStream, "pinned", True)
        monkeypatch.setattr(copies, "_register", self.register)
        monkeypatch.setattr(copies, "_unregister", lambda memory: self.pinned.remove(memory.data_ptr()))

    def register(self, memory: Tensor, device: torch.device) -> int:
        assert device == CPU
        if not self.code:
            self.pinned.append(memory.data_ptr())
        return self.code


def interrupted() -> Conditioning:
    """A pass whose user loses patience in its second block."""
    calls = itertools.count()

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return dense_attention(q, k, v)

    return replace(PASSES[1], self_attn=attend)


@pytest.mark.parametrize("weights_from", ["ram", "disk"])
def test_an_interrupt_leaves_neither_thread_nor_pinned_memory(
    files: dict[str, Path], weights_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = Pins(monkeypatch)
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with transformers(
            phases_of(files, 5), Placement(CPU, torch.float32, streamed=3, weights_from=weights_from)
        ) as load:
            model = load("high")
            assert pins.pinned if weights_from == "ram" else not pins.pinned
            slot = weakref.ref(model._ring._slots[0])  # type: ignore[union-attr]
            with torch.inference_mode():
                model.passes(TENSORS["1.latents"], torch.tensor(875.0), [PASSES[0], interrupted()])
    assert readers() == []
    assert pins.pinned == []
    assert slot() is None


def test_memory_that_cannot_be_pinned_is_used_all_the_same(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pins, notes, forgotten = Pins(monkeypatch, code=2), list[str](), list[torch.device]()
    monkeypatch.setattr(copies, "_forget_error", forgotten.append)
    phases = phases_of(files, 1)
    with transformers(phases, Placement(CPU, torch.float32, streamed=3, weights_from="ram")) as load:
        pinned = velocities(load("high"))
    assert forgotten == [CPU]
    placement = Placement(CPU, torch.float32, streamed=3, weights_from="ram", note=notes.append)
    with transformers(phases, placement) as load:
        assert all(map(torch.equal, velocities(load("high")), pinned))
    assert len(notes) == 1 and notes[0].startswith("the system refuses to pin ")
    assert pins.pinned == []


def test_a_run_that_is_left_gives_everything_back(files: dict[str, Path]) -> None:
    plan = DenoisePlan(4, 5.0, "euler", 0.875, 3.0, 3.0)

    @contextmanager
    def open_expert(name: str) -> Iterator[torch.nn.Module]:
        yield load(name)

    with transformers(phases_of(files, 2, 2), Placement(CPU, torch.float32, streamed=3)) as load:
        loop = denoise(open_expert, TENSORS["1.latents"], plan, *PASSES)  # type: ignore[arg-type]
        next(loop)
        assert len(readers()) == 1
        loop.close()
    assert readers() == []


def test_transformers_of_two_sizes_share_no_ring(files: dict[str, Path], tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in load_file(files["low"]).items() if not name.startswith("blocks.2.")}
    save_file(tensors, tmp_path / "low", {"num_heads": "4"})
    with (
        pytest.raises(InputError, match=r"blocks_to_swap 2: the two transformers differ in size"),
        transformers(phases_of(files, 1, 1), Placement(CPU, torch.float32, streamed=2)),
    ):
        pass


def test_streamed_blocks_lie_evenly_apart() -> None:
    assert spread(0, 40) == ()
    assert spread(4, 40) == (0, 10, 20, 30)
    assert spread(40, 40) == tuple(range(40))
    for count in range(41):
        assert len(set(spread(count, 40))) == count


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("weights_from", ["ram", "disk"])
@pytest.mark.parametrize("streamed", [1, 2, 3])
def test_on_a_gpu_streamed_is_resident_bit_for_bit(files: dict[str, Path], streamed: int, weights_from: str) -> None:
    device = torch.device("cuda")
    latents, passes = TENSORS["1.latents"].to(device), [Conditioning(TENSORS["1.context"].to(device))] * 2
    resident = load_transformer(inspect_transformer(files["high"]), device, torch.bfloat16)
    with (
        torch.inference_mode(),
        transformers(
            phases_of(files, 20), Placement(device, torch.bfloat16, streamed=streamed, weights_from=weights_from)
        ) as load,
    ):
        model = load("high")
        for step in range(20):
            timestep = torch.tensor(1000.0 - step, device=device)
            assert same(model.passes(latents, timestep, passes), resident.passes(latents, timestep, passes))
