"""Weights in int8 as other programs write them, and what their values are by the plain formula."""

from __future__ import annotations

import json

import torch
from torch import Tensor

H4 = torch.tensor([[1.0, 1, 1, -1], [1, 1, -1, 1], [1, -1, 1, 1], [-1, 1, 1, 1]], dtype=torch.float64)


def hadamard(size: int) -> Tensor:
    """The matrix by which ConvRot turns a group, fp64 [size, size]."""
    matrix = H4
    while len(matrix) < size:
        matrix = torch.kron(matrix, H4)
    return matrix / size**0.5


def turned(values: Tensor, group: int) -> Tensor:
    """Rows with every group of columns turned, in fp64; turned twice, they are as before."""
    return (values.double().unflatten(1, (-1, group)) @ hadamard(group)).flatten(1)


def mark(group: int) -> bytes:
    """What ComfyUI says of a layer."""
    told = {"format": "int8_tensorwise", "per_row": True}
    return json.dumps(told | ({"convrot": True, "convrot_groupsize": group} if group else {})).encode()


def in_int8(name: str, values: Tensor, group: int = 0, rows: bool = True) -> dict[str, Tensor]:
    """A weight in int8, turned in groups of columns or not, with its scale, and what is said of it if it was turned."""
    of = turned(values, group) if group else values.double()
    scale = (of.abs().amax(1, keepdim=True) if rows else of.abs().amax()).float() / 127
    layer = name.removesuffix(".weight")
    found = {name: (of / scale).round().to(torch.int8), f"{layer}.weight_scale": scale}
    return found | (
        {f"{layer}.comfy_quant": torch.frombuffer(bytearray(mark(group)), dtype=torch.uint8)} if group else {}
    )


def value_of(name: str, stored: dict[str, Tensor], group: int = 0) -> Tensor:
    """What `in_int8` holds, by the formula: turned back in fp64, times the scale, rounded to fp32 once."""
    numbers = turned(stored[name], group) if group else stored[name].double()
    return (numbers * stored[f"{name.removesuffix('.weight')}.weight_scale"].double()).float()
