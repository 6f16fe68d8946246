"""How the numbers of a file are held: the type of most of them, and the form of quantisation, if any."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable

from wan2.weights.kinds.kind import Table

# What each form leaves in the names of tensors.
BY_NAME = (
    ("bitsandbytes nf4", r"\.quant_state\.bitsandbytes__nf4$"),
    ("bitsandbytes fp4", r"\.quant_state\.bitsandbytes__fp4$"),
    ("bitsandbytes int8", r"\.SCB$"),
    ("bitsandbytes 4-bit", r"\.weight\.(absmax|quant_map)$"),
    ("optimum-quanto", r"\.weight\._(data|scale|shift)(\._data|\._scale)?$"),
    ("SVDQuant (Nunchaku)", r"\.(wscales|smooth_factor|smooth_factor_orig)$"),
    ("AWQ or GPTQ", r"\.qzeros$|\.qweight$"),
    ("HQQ", r"\.W_q$"),
    ("torchao", r"tensor_impl|:_?q?data$|_weight_(qdata|scale)$|\.int_data$"),
)
# What a scale in fp8 is of, by the type of the weights.
PACKED = ("U8", "I8", "F4")
FLOAT8 = ("F8_E4M3", "F8_E5M2")
INT8 = "I8"
SCALES = re.compile(r"\.(weight_scale|scale_weight|weight_scale_inv)$")
NAMES = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "I8": "int8", "U8": "uint8"}
NAMES |= {"F8_E4M3": "fp8", "F8_E5M2": "fp8 (e5m2)"}


def main_dtype(table: Table) -> str:
    """The type of most values of a file, in the words of `NAMES`; empty where there are none."""
    held: Counter[str] = Counter()
    for dtype, shape in table.values():
        held[dtype] += math.prod(shape)
    most = held.most_common(1)[0][0] if held else ""
    return NAMES.get(most, most)


def quantisation(table: Table, notes: Iterable[str] = ()) -> str:
    """The form in which a file's weights are quantised, in words; empty where they are plain numbers.

    notes: what the file says of it: ComfyUI's `comfy_quant`, as JSON.
    """
    text = "\n".join(table)
    by_name = next((form for form, sign in BY_NAME if re.search(sign, text, re.MULTILINE)), None)
    return by_name or _by_scales(table, _noted(notes))


def _noted(notes: Iterable[str]) -> str:
    """The forms that notes name."""
    said = []
    for note in notes:
        try:
            table = json.loads(note)
        except (ValueError, RecursionError):
            continue
        if isinstance(table, dict):
            said.append(str(table.get("format", ""))[:40] + (" ConvRot" if table.get("convrot") else ""))
    return " ".join(said)


def _by_scales(table: Table, noted: str) -> str:
    weights = {table[name][0] for name in table if name.endswith("weight")}
    scales = {name: table[name] for name in table if SCALES.search(name)}
    scale_types = {dtype for dtype, _ in scales.values()}
    if "nvfp4" in noted or any(
        name.endswith(".weight_scale_2") and _weight(table, name)[0] in PACKED for name in table
    ):
        return "nvfp4"
    if "mx" in noted or scale_types & {"U8", "F8_E8M0"}:
        return "mxfp8" if weights & set(FLOAT8) else "mxfp4"
    if INT8 in weights:
        turned = " ConvRot" if "ConvRot" in noted else ""
        return f"int8{turned}" + _spread(table, scales, "without scales")
    if scales and weights & set(FLOAT8):
        return "scaled fp8" + _spread(table, scales, "")
    return ""


def _spread(table: Table, scales: Table, without: str) -> str:
    """How far a scale reaches, where that is not one tensor or one row."""
    if not scales:
        return f" {without}"
    for name, (_, shape) in scales.items():
        rows = _weight(table, name)[1][:1]
        if shape not in ((), (1,), rows, (*rows, 1)):
            return " with scales of blocks"
    return ""


def _weight(table: Table, scale: str) -> tuple[str, tuple[int, ...]]:
    """The weight that a scale belongs to."""
    return table.get(scale.rpartition(".")[0] + ".weight", ("", ()))
