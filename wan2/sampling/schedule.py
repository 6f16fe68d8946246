"""Noise levels of a run. Knows nothing of solvers or tensors.

Source: rectified flow with the timestep shift of Wan2.1. The arithmetic is that of fp32, rounded at every operation, so
that the numbers are to the bit those of the published code.
"""

from __future__ import annotations

import struct
from functools import lru_cache

TRAIN_TIMESTEPS = 1000


@lru_cache(maxsize=8)
def sigmas(steps: int, shift: float) -> tuple[float, ...]:
    """`steps` noise levels from 1 downward, the final 0 left out: linspace(1, 0), shifted s*u / (1 + (s - 1)*u)."""
    return tuple(_shifted(u, shift) for u in _linspace_to_zero(steps))


def timesteps(steps: int, shift: float) -> tuple[float, ...]:
    """What the transformer is told at each level: 1000 sigma."""
    return tuple(_fp32(TRAIN_TIMESTEPS * sigma) for sigma in sigmas(steps, shift))


def first_unguided_step(steps: int, cfg_skip: float) -> int:
    """Index of the first step that goes without the negative pass, when the last `cfg_skip` (a share) of them do."""
    return steps - round(cfg_skip * steps)


def _linspace_to_zero(steps: int) -> list[float]:
    step = _fp32(-1 / steps)
    half = (steps + 1) // 2
    return [_fp32(1 + step * i) if i < half else _fp32(-step * (steps - i)) for i in range(steps)]


def _shifted(u: float, shift: float) -> float:
    return _fp32(_fp32(shift * u) / _fp32(1 + _fp32((shift - 1) * u)))


def _fp32(x: float) -> float:
    return struct.unpack("<f", struct.pack("<f", x))[0]
