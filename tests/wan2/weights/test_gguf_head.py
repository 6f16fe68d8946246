"""The head of a GGUF file: as the library reads it, and nothing that a damaged one says is believed."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wan2.gguf_files import write_gguf
from wan2.errors import InputError
from wan2.weights.checkpoint import load_tensors
from wan2.weights.dtypes import DTYPES
from wan2.weights.gguf_head import TYPES
from wan2.weights.header import read_header


def small(path: Path) -> Path:
    """Two tensors, of 40 and 4 bytes, and a few notes."""
    tensors = {"a": torch.arange(10.0).reshape(2, 5), "b": torch.tensor([1.0, 2.0]).half()}
    return write_gguf(path, tensors, {"num_heads": "4"})


def test_the_types_are_those_of_the_library() -> None:
    assert {number: kind.name for number, kind in ((k.value, k) for k in Type)} == TYPES
    sizes = {kind.name: size for kind, size in gguf.constants.GGML_QUANT_SIZES.items()}
    assert {name: (DTYPES[name].values, DTYPES[name].nbytes) for name in TYPES.values()} == sizes


def test_a_head_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    writer = GGUFWriter(tmp_path / "all.gguf", "wan")
    writer.add_array("tokens", [f"token {i}" for i in range(3000)])
    writer.add_array("scores", [float(i) for i in range(3000)])
    writer.add_uint32("version", 3)
    writer.add_bool("flag", True)
    writer.add_string("long", "x" * 100_000)
    for kind, (values, nbytes) in gguf.constants.GGML_QUANT_SIZES.items():
        data = rng.integers(0, 256, (3, 2 * nbytes), dtype=np.uint8)
        writer.add_tensor(f"of.{kind.name}", data, raw_shape=(3, 2 * nbytes), raw_dtype=kind)
        assert values
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header, reader = read_header(tmp_path / "all.gguf"), GGUFReader(tmp_path / "all.gguf")
    assert [*header.entries] == [tensor.name for tensor in reader.tensors]
    for tensor in reader.tensors:
        entry = header.entries[tensor.name]
        assert (entry.dtype, entry.shape[::-1]) == (tensor.tensor_type.name, tuple(tensor.shape.tolist()))
        assert (entry.start, entry.end) == (tensor.data_offset, tensor.data_offset + tensor.n_bytes)
    assert header.metadata == {"general.architecture": "wan", "version": "3", "flag": "True"}


def test_tensors_of_a_float_type_are_read(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 4, 2, 5),
        "b": torch.randn(7).half(),
        "c": torch.randn(2, 8).bfloat16(),
        "d": torch.arange(4, dtype=torch.int32),
    }
    read = dict(load_tensors(write_gguf(tmp_path / "a.gguf", tensors, {})))
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_a_shape_that_was_noted_is_the_shape(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "a.gguf", "wan")
    writer.add_array("comfy.gguf.orig_shape.a", [2, 3, 4])
    writer.add_tensor("a", np.arange(24, dtype=np.float32).reshape(4, 6))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (read,) = dict(load_tensors(tmp_path / "a.gguf")).values()
    assert torch.equal(read, torch.arange(24.0).reshape(2, 3, 4))


def kv(name: bytes, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


def info(name: bytes = b"a", shape: tuple[int, ...] = (2,), kind: int = 0, offset: int = 0) -> bytes:
    axes = b"".join(struct.pack("<Q", size) for size in shape)
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape)) + axes + struct.pack("<IQ", kind, offset)


def whole(infos: list[bytes], notes: list[bytes] = [], data: int = 32, version: int = 3, count: int | None = None):  # noqa: B006
    counts = struct.pack("<IQQ", version, len(infos) if count is None else count, len(notes))
    head = b"GGUF" + counts + b"".join(notes) + b"".join(infos)
    return head + bytes(-len(head) % 32) + bytes(data)


BROKEN = {
    "version 1": (whole([info()], version=1), "is GGUF of version 1; versions 2 and 3 are read"),
    "other order": (whole([info()], version=3 << 24), "of the other byte order"),
    "many tensors": (whole([info()], count=1 << 40), "tensors and 0 notes; must be at most"),
    "head cut": (whole([info()])[:40], "is truncated: its head goes beyond the 40 bytes"),
    "data cut": (whole([info()], data=4), "is truncated: its tensors need"),
    "data left over": (whole([info()], data=64), "bytes after its last tensor"),
    "unknown type": (whole([info(kind=5)]), "tensor 'a' has the unknown type 5"),
    "odd row": (whole([info(shape=(40,), kind=8)]), "tensor 'a' of Q8_0 has rows of 40; needs a multiple of 32"),
    "single block": (whole([info(shape=(), kind=8)]), "tensor 'a' of Q8_0 has rows of 1"),
    "huge": (whole([info(shape=(2**62, 2**62))]), "is truncated: its tensors need"),
    "axes": (whole([info(shape=(1,) * 9)]), "tensor 'a' has 9 axes; must be at most 8"),
    "name": (whole([info(name=b"\xff")]), "the name of a tensor is not valid UTF-8"),
    "twice": (whole([info(), info(offset=32)], data=64), "has two tensors of one name"),
    "overlap": (whole([info(), info(b"b", offset=0)], data=64), "tensor 'b' overlaps 'a'"),
    "hole": (whole([info(), info(b"b", offset=64)], data=96), "tensor 'b' leaves a hole after 'a'"),
    "note twice": (whole([info()], [kv(b"k", 4, bytes(4))] * 2), "has the note 'k' twice"),
    "note type": (whole([info()], [kv(b"k", 13, bytes(4))]), "its note 'k' has the unknown type 13"),
    "list of lists": (whole([info()], [kv(b"k", 9, struct.pack("<IQ", 9, 1))]), "is a list of 1 of the type 9"),
    "long list": (whole([info()], [kv(b"k", 9, struct.pack("<IQ", 8, 2**60))]), "is a list of 1152921504606846976"),
    "alignment": (whole([info()], [kv(b"general.alignment", 4, struct.pack("<I", 48))]), "must be a power of two"),
    "shape": (
        whole([info()], [kv(b"comfy.gguf.orig_shape.a", 9, struct.pack("<IQ2i", 5, 2, 3, 1))]),
        "tensor 'a' of [2] has (3, 1) noted as its shape",
    ),
    "part": (whole([info()], [kv(b"split.count", 2, struct.pack("<H", 3))]), "is one of 3 parts of a GGUF file"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    content, why = BROKEN[kind]
    (tmp_path / "broken.gguf").write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_header(tmp_path / "broken.gguf")
    assert why in str(refusal.value) and "\n" not in str(refusal.value)


def test_what_the_broken_files_are_made_of_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(whole([info(), info(b"b", offset=32)], [kv(b"k", 4, bytes(4))], data=64))
    header = read_header(tmp_path / "a.gguf")
    assert header.shapes == {"a": (2,), "b": (2,)} and header.metadata == {"k": "0"}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_head_is_refused_or_read_but_never_crashes(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "damaged.gguf"
    if not path.exists():
        small(path)
        (tmp_path / "sound").write_bytes(path.read_bytes())
    content = bytearray((tmp_path / "sound").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        header = read_header(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(entry.end <= path.stat().st_size for entry in header.entries.values())


def test_a_head_is_read_without_pytorch(tmp_path: Path) -> None:
    script = (
        "import sys; from wan2.weights.header import read_header\n"
        f"print(read_header({str(small(tmp_path / 'a.gguf'))!r}).metadata['num_heads'])\n"
        "assert not {'torch', 'numpy', 'gguf'} & set(sys.modules)\n"
    )
    assert subprocess.check_output([sys.executable, "-c", script], cwd=Path(__file__).parents[3], text=True) == "4\n"
