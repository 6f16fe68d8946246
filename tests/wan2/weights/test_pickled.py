"""PyTorch files that hold something other than plain tensors, or are built to cost time and memory."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from wan2.errors import InputError
from wan2.weights.checkpoint import load_tensors
from wan2.weights.pickled import LEGACY, MAX_OPERATIONS, MAX_PICKLE, unpickle

SMALL = torch.arange(6.0).view(2, 3)


def saved(path: Path, content: Any, archive: bool) -> Path:  # noqa: ANN401
    with warnings.catch_warnings(action="ignore"):
        torch.save(content, path, _use_new_zipfile_serialization=archive)
    return path


def repacked(path: Path, compression: int = zipfile.ZIP_STORED, **instead: bytes) -> Path:
    """A sound archive written anew, with other bytes in the records named."""
    sound = io.BytesIO()
    torch.save({"a": SMALL}, sound)
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(path, "w", compression) as new:
        for member in old.infolist():
            name = member.filename.partition("/")[2]
            new.writestr(member.filename, instead.get(name.replace(".", "_"), old.read(member)))
    return path


def odd_tensors() -> dict[str, Any]:
    with warnings.catch_warnings(action="ignore"):
        return {
            "quantised": torch.quantize_per_tensor(SMALL, 0.1, 0, torch.qint8),
            "quantised by channel": torch.quantize_per_channel(SMALL, torch.ones(2), torch.zeros(2), 0, torch.qint8),
            "sparse": SMALL.to_sparse(),
            "sparse rows": SMALL.to_sparse_csr(),
            "meta": torch.empty(2, 3, device="meta"),
            "complex": torch.ones(2, dtype=torch.complex64),
            "negated": torch._neg_view(SMALL),
            "one value a billion times": torch.ones(1).expand(10**9),
            "16 bits without sign": torch.ones(2, dtype=torch.uint16),
            "a table": {"b": SMALL},
            "a number": 1.0,
        }


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("name", odd_tensors())
def test_what_is_no_plain_tensor_is_refused_in_one_line(name: str, archive: bool, tmp_path: Path):
    path = saved(tmp_path / "a.pth", {"a": odd_tensors()[name]}, archive)
    with pytest.raises(InputError) as refused:
        list(load_tensors(path))
    assert str(refused.value).startswith(f"{path}: ") and len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("archive", [True, False])
def test_plain_tensors_come_as_they_were_without_gradients(archive: bool, tmp_path: Path):
    wanted = {
        "parameter": torch.nn.Parameter(SMALL.clone()),
        "part": SMALL[1:, 1:],
        "transposed": SMALL.T,
        "bf16": SMALL.bfloat16(),
        "counts": torch.arange(3),
        "none": torch.empty(0, 4),
        "one": torch.tensor(2.0),
    }
    found = unpickle(saved(tmp_path / "a.pth", wanted, archive))
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        assert type(tensor) is torch.Tensor and not tensor.requires_grad
        assert torch.equal(tensor, wanted[name].detach()) and tensor.dtype == wanted[name].dtype


def test_the_state_of_a_module_is_read_with_what_torch_adds_to_it(tmp_path: Path):
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    found = unpickle(saved(tmp_path / "a.pth", module.state_dict(), archive=True))
    assert found.keys() == module.state_dict().keys()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packed_archive_is_not_unpacked(compression: int, tmp_path: Path):
    path = repacked(tmp_path / "a.pth", compression, data_pkl=b"(" * (50 * MAX_PICKLE))
    assert path.stat().st_size < MAX_PICKLE
    with pytest.raises(InputError, match="is packed, which PyTorch's own never are"):
        unpickle(path)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"(" * (MAX_PICKLE + 1), f"its data.pkl is larger than {MAX_PICKLE} bytes"),
        (b"(" * (MAX_OPERATIONS + 1), f"its pickle has more than {MAX_OPERATIONS} operations"),
        (b"\x80\x02]" + b"h\x00a" * MAX_OPERATIONS + b".", f"its pickle has more than {MAX_OPERATIONS} operations"),
        (b"\x80\x02cbuiltins\nbytearray\n(J\x00\x00\x00\x7ftR.", "it names 'builtins bytearray'"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "it names 'STACK_GLOBAL'"),
        (b"\x80\x02(ios\nsystem\n.", "it names 'os system'"),
        (b"\x80\x02\x82\x01.", "it names '1'"),
        (b"\x80\x02X\xff\xff\xff\x7fa.", "cannot be read"),
        (b"I" + b"9" * 100_000 + b"\n.", "cannot be read"),
        (b"", "cannot be read"),
    ],
    ids=range(10),
)
def test_a_pickle_that_is_long_or_names_other_things_is_not_run(content: bytes, rule: str, tmp_path: Path):
    with pytest.raises(InputError) as refused:
        unpickle(repacked(tmp_path / "a.pth", data_pkl=content))
    assert rule in str(refused.value)
    (tmp_path / "b.pth").write_bytes(LEGACY + content)
    with pytest.raises(InputError):
        unpickle(tmp_path / "b.pth")


def test_files_of_neither_kind_are_refused_unread(tmp_path: Path):
    for content in (b"(" * 10_000_000, pickle.dumps({"a": 1}), pickle.dumps(SMALL), b"", b"\x80", LEGACY[:-1]):
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(InputError, match="is not a PyTorch file of plain tensors; nothing in it was run"):
            unpickle(tmp_path / "a.pth")


def test_an_archive_cut_anywhere_is_one_line(tmp_path: Path):
    whole = repacked(tmp_path / "a.pth").read_bytes()
    for size in range(1, len(whole) - 1, 7):
        (tmp_path / "b.pth").write_bytes(whole[:size])
        with pytest.raises(InputError) as refused:
            unpickle(tmp_path / "b.pth")
        assert len(str(refused.value).splitlines()) == 1
