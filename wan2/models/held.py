"""Puts linears that hold their weights in fewer bits in the place of ordinary ones. Knows nothing of files."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn

from wan2.models.forms import FP8, INT8, Form
from wan2.models.fp8 import FastFp8Linear, Fp8Linear
from wan2.models.ggml import BlockLinear
from wan2.models.int8 import FastInt8Linear, Int8Linear
from wan2.models.multiplied import HeldLinear


def hold(root: nn.Module, forms: Mapping[str, Form], fast: Collection[str] = ()) -> None:
    """Replace the linears whose weights are named by linears that hold them in a form, without memory.

    fast: the forms of which products are computed as they are held: fp8, int8.
    """
    for name, form in forms.items():
        path, _, leaf = name.removesuffix(".weight").rpartition(".")
        parent = root.get_submodule(path)
        with torch.device("meta"):
            setattr(parent, leaf, _held(getattr(parent, leaf), form, form.kind in fast))


def _held(linear: nn.Linear, form: Form, fast: bool) -> HeldLinear:
    sizes = linear.in_features, linear.out_features, linear.bias is not None
    if form.kind == FP8:
        return FastFp8Linear(*sizes) if fast else Fp8Linear(*sizes)
    if form.kind == INT8:
        return (FastInt8Linear if fast else Int8Linear)(*sizes, form.turned)
    return BlockLinear(*sizes, form.kind)
