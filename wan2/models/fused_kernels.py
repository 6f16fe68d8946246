"""The kernels of `fused`, in Triton: a program a row. Importing this needs Triton.

A row is read once, computed in fp32 and rounded where the plain operators round; its columns past the last are masked.
"""

from __future__ import annotations

import triton
import triton.language as tl


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
    tl.store(place, made.to(out.dtype.element_ty), inside)


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
    even = (even * rstd * tl.load(weight + 2 * pair, inside, 0.0).to(tl.float32)).to(kind).to(tl.float32)
    odd = (odd * rstd * tl.load(weight + 2 * pair + 1, inside, 0.0).to(tl.float32)).to(kind).to(tl.float32)
    turn = row * turns + pair % turns
    c, s = tl.load(cos + turn, inside, 0.0), tl.load(sin + turn, inside, 0.0)
    place = out + batch * out_batch + row * 2 * pairs + 2 * pair
    tl.store(place, (even * c - odd * s).to(kind), inside)
    tl.store(place + 1, (odd * c + even * s).to(kind), inside)


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
        kept = bent.to(x.dtype.element_ty).to(tl.float32)
    # inf * 0 and NaN are NaN: a row that holds one gets a scale that is not finite.
    largest = tl.max(tl.abs(kept), 0) + tl.sum(kept * 0.0, 0)
    bits = (largest / largest_fp8).to(tl.int32, bitcast=True) + 0x007FFFFF
    power = tl.maximum((bits & 0x7F800000).to(tl.float32, bitcast=True), smallest_scale)
    scale = tl.where(largest == largest, power, largest)
    tl.store(scales + row, scale)
    tl.store(values + row * columns + column, (kept / scale).to(values.dtype.element_ty), inside)
