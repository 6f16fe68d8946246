"""The kernels of `fused`, in Triton: a program a row. Importing this needs Triton.

A row is read once, computed in fp32 and rounded where the plain operators round; its columns past the last are masked.
Rounding is spelled out: on GPUs a conversion rounds to the nearest, but Triton's interpreter cuts off.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def rounded(values, kind: tl.constexpr):
    """fp32 values as `kind` rounds them, still in fp32."""
    if kind == tl.bfloat16:
        bits = values.to(tl.int32, bitcast=True)
        nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        values = tl.where(values == values, nearest.to(tl.float32, bitcast=True), values)
    return values


@triton.jit
def norm_row(x, scale, shift, out, x_batch, columns, eps, WIDTH: tl.constexpr):
    """Layer norm, then `* (1 + scale) + shift`. x: [batch, rows, columns]; scale, shift: fp32 [batch, 1, columns]."""
    row, batch = tl.program_id(0), tl.program_id(1)
    column = tl.arange(0, WIDTH)
    inside = column < columns
    values = tl.load(x + batch * x_batch + row * columns + column, inside, 0.0).to(tl.float32)
    mean = tl.sum(values, 0) / columns
    centred = tl.where(inside, values - mean, 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / columns + eps)
    factor = 1.0 + tl.load(scale + batch * columns + column, inside, 0.0)
    made = centred * rstd * factor + tl.load(shift + batch * columns + column, inside, 0.0)
    place = out + (batch * tl.num_programs(0) + row) * columns + column
    kind = out.dtype.element_ty
    tl.store(place, rounded(made, kind).to(kind), inside)


@triton.jit
def rms_rope_row(x, weight, cos, sin, out, x_batch, out_batch, pairs, turns, eps, WIDTH: tl.constexpr):
    """RMS norm over a row of channel pairs, then the rotation of each pair. turns: pairs of one head."""
    row, batch = tl.program_id(0), tl.program_id(1)
    pair = tl.arange(0, WIDTH)
    inside = pair < pairs
    start = x + batch * x_batch + row * 2 * pairs + 2 * pair
    even = tl.load(start, inside, 0.0).to(tl.float32)
    odd = tl.load(start + 1, inside, 0.0).to(tl.float32)
    rstd = 1.0 / tl.sqrt(tl.sum(even * even + odd * odd, 0) / (2 * pairs) + eps)
    kind = x.dtype.element_ty
    even = rounded(even * rstd * tl.load(weight + 2 * pair, inside, 0.0).to(tl.float32), kind)
    odd = rounded(odd * rstd * tl.load(weight + 2 * pair + 1, inside, 0.0).to(tl.float32), kind)
    turn = row * turns + pair % turns
    c, s = tl.load(cos + turn, inside, 0.0), tl.load(sin + turn, inside, 0.0)
    place = out + batch * out_batch + row * 2 * pairs + 2 * pair
    tl.store(place, rounded(even * c - odd * s, kind).to(kind), inside)
    tl.store(place + 1, rounded(odd * c + even * s, kind).to(kind), inside)


@triton.jit
def quantise_row(x, values, scales, columns, largest_fp8, smallest_scale, GELU: tl.constexpr, WIDTH: tl.constexpr):
    """A row in fp8 by the smallest power of two that makes it fit, after GELU or not; see `fp8.quantise_rows`."""
    row = tl.program_id(0)
    column = tl.arange(0, WIDTH)
    inside = column < columns
    kept = tl.load(x + row * columns + column, inside, 0.0).to(tl.float32)
    if GELU:
        # 0.5 * (1 + tanh(u)) is the logistic function of 2u.
        bent = kept * tl.sigmoid(1.5957691216057308 * (kept + 0.044715 * kept * kept * kept))
        kept = rounded(bent, x.dtype.element_ty)
    # inf * 0 and NaN are NaN: a row that holds one gets a scale that is not finite.
    largest = tl.max(tl.abs(kept), 0) + tl.sum(kept * 0.0, 0)
    bits = (largest / largest_fp8).to(tl.int32, bitcast=True) + 0x007FFFFF
    power = tl.maximum((bits & 0x7F800000).to(tl.float32, bitcast=True), smallest_scale)
    scale = tl.where(largest == largest, power, largest)
    tl.store(scales + row, scale)
    # e4m3 has three bits of mantissa, and none smaller than 2^-9: adding 1.5 * 2^23 steps, and taking them off again,
    # leaves whole steps.
    scaled = kept / scale
    size = (scaled.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)
    steps = tl.maximum(size, 0.015625) * 0.125 * 12582912.0
    made = (scaled + steps) - steps
    tl.store(values + row * columns + column, made.to(values.dtype.element_ty), inside)
