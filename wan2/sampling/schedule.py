"""Noise levels of a run, and the timesteps that the transformer is given at them. Knows nothing of tensors.

Sources: Euler: rectified flow with the timestep shift of Wan2.1, in the arithmetic of fp32, rounded at every operation;
timesteps are 1000 sigma, fractions and all. UniPC and DPM++: the schedulers of Wan2.2, in float64, rounded once at the
end; timesteps are whole numbers. All of it to the bit as the published code has it.
"""

from __future__ import annotations

import struct
from functools import lru_cache

TRAIN_TIMESTEPS = 1000


@lru_cache(maxsize=8)
def sigmas(steps: int, shift: float, solver: str) -> tuple[float, ...]:
    """`steps` noise levels of a solver, downward, the final 0 left out: u evenly from the first level to 0, shifted.

    The first is 1 for euler and dpm++, and 0.999, shifted, for unipc.
    """
    if solver == "euler":
        return tuple(_shifted_in_fp32(u, shift) for u in _linspace_in_fp32(steps))
    return tuple(_fp32(sigma) for sigma in _in_float64(steps, shift, solver))


@lru_cache(maxsize=8)
def timesteps(steps: int, shift: float, solver: str) -> tuple[float, ...]:
    """What the transformer is given at each level: 1000 sigma, for unipc and dpm++ with the fraction cut off."""
    if solver == "euler":
        return tuple(_fp32(TRAIN_TIMESTEPS * sigma) for sigma in sigmas(steps, shift, solver))
    return tuple(float(int(TRAIN_TIMESTEPS * sigma)) for sigma in _in_float64(steps, shift, solver))


def first_unguided_step(steps: int, cfg_skip: float) -> int:
    """Index of the first step that goes without the negative pass, when the last `cfg_skip` (a share) of them do."""
    return steps - round(cfg_skip * steps)


def _in_float64(steps: int, shift: float, solver: str) -> list[float]:
    # UniPC begins at the last of 1000 training levels, which are kept in fp32.
    first = _fp32(1 - 1 / TRAIN_TIMESTEPS) if solver == "unipc" else 1.0
    step = -first / steps
    evenly = (i * step + first for i in range(steps))
    return [shift * u / (1 + (shift - 1) * u) for u in evenly]


def _linspace_in_fp32(steps: int) -> list[float]:
    step = _fp32(-1 / steps)
    half = (steps + 1) // 2
    return [_fp32(1 + step * i) if i < half else _fp32(-step * (steps - i)) for i in range(steps)]


def _shifted_in_fp32(u: float, shift: float) -> float:
    return _fp32(_fp32(shift * u) / _fp32(1 + _fp32((shift - 1) * u)))


def _fp32(x: float) -> float:
    return struct.unpack("<f", struct.pack("<f", x))[0]
