"""Tensors that stay in their file, and how two sets of tensors differ."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wan2.errors import InputError
from wan2.weights.fit import disagreement
from wan2.weights.mapped import map_tensors

FP8 = torch.float8_e4m3fn


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_both_formats_are_mapped(tmp_path: Path, suffix: str) -> None:
    tensors = {"a.weight": torch.arange(12.0).view(3, 4), "b": torch.ones(2, dtype=torch.bfloat16)}
    path = tmp_path / f"model.{suffix}"
    (torch.save if suffix == "pth" else save_file)(tensors, path)
    mapped = map_tensors(path)
    assert mapped.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(mapped[name].stored, tensor)
        assert mapped[name].on("cpu", tensor.dtype).data_ptr() == mapped[name].stored.data_ptr()


def test_mapping_again_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({str(index): torch.ones(300) for index in range(300)}, path)
    counts = []
    for _ in range(5):
        assert len(map_tensors(path)) == 300
        gc.collect()
        counts.append(sys.getallocatedblocks())
    assert counts[-1] - counts[1] < 300


def test_tensors_off_the_grid_of_their_type_are_copied(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(4.0), "b": torch.ones(3, dtype=torch.uint8)}, path)
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    odd = raw[8 : 8 + size].rstrip() + b" " * (1 - len(raw[8 : 8 + size].rstrip()) % 2)
    path.write_bytes(len(odd).to_bytes(8, "little") + odd + raw[8 + size :])
    assert len(odd) % 2 == 1
    assert map_tensors(path)["a"].stored.tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process holds")
def test_untouched_tensors_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(16_000_000), "b": torch.ones(4)}, path)
    before = _own_bytes()
    mapped = map_tensors(path)
    assert mapped["b"].on("cpu", torch.float32).sum() == 4
    assert _own_bytes() - before < 16_000_000


def _own_bytes() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(fields["VmRSS"].split()[0])


@pytest.mark.parametrize("scale", [torch.tensor(0.5), torch.tensor([0.5]), torch.tensor([[0.5], [2.0], [4.0]])])
@pytest.mark.parametrize("ending", ["scale_weight", "weight_scale"])
def test_scales_are_multiplied_out(tmp_path: Path, scale: torch.Tensor, ending: str) -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    path = tmp_path / "model.safetensors"
    stored = {"a.weight": values.to(FP8), f"a.{ending}": scale, "a.comfy_quant": torch.zeros(3, dtype=torch.uint8)}
    save_file({**stored, "scaled_fp8": torch.zeros(2, dtype=FP8)}, path)
    mapped = map_tensors(path)
    assert mapped.keys() == {"a.weight"}
    assert torch.equal(mapped["a.weight"].on("cpu", torch.float32), values * scale)
    index = torch.tensor([2, 0])
    assert torch.equal(mapped["a.weight"].rows(index).on("cpu", torch.float32), (values * scale)[index])


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="truncated"):
        map_tensors(path)


def test_disagreement_counts_and_names_the_first() -> None:
    expected = {"a": (1,), "b": (2,), "c": (3,), "d": (4,), "e": (5,)}
    assert disagreement(expected, expected) == ""
    assert disagreement(expected, {"e": (6,), "x": (1,)}) == (
        "4 tensors missing (a, b, c, ...), 1 tensors unknown (x), 1 tensors misshapen (e)"
    )
