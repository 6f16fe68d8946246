"""What one value of the command line may be, and how it is refused. Knows nothing of how values go together.

Every check raises `InputError` with the flag, the value and the rule.
"""

from __future__ import annotations

import math
import re

from wan2.errors import InputError
from wan2.models.kernel_table import AUTO, KERNELS
from wan2.sampling.solvers import SOLVERS
from wan2.shapes import SIZE_MULTIPLE

CHOICES: dict[str, tuple[str, ...]] = {
    "sample_solver": SOLVERS,
    "dtype": ("auto", "bfloat16", "float16", "float32"),
    "vae_dtype": ("auto", "bfloat16", "float32"),
    "attn_mode": (AUTO, *KERNELS),
    "output_type": ("video", "images", "latent", "both"),
    "weights_from": ("disk", "ram"),
}
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")

# Lowest and highest value of every number: beyond them a mistake is certain.
RANGES: dict[str, tuple[float, float]] = {
    "height": (SIZE_MULTIPLE, 8192),
    "width": (SIZE_MULTIPLE, 8192),
    "num_frames": (1, 10_000),
    "fps": (0.1, 240),
    "infer_steps": (1, 1000),
    "flow_shift": (0.01, 100),
    "guidance_scale": (0, 100),
    "guidance_scale_high_noise": (0, 100),
    "dual_dit_boundary": (0, 1),
    "cfg_skip": (0, 1),
    "step_cache": (0, 1),
    "seed": (0, 2**63 - 1),
    "preview": (0, 1000),
    "save_every": (0, 1000),
    "crf": (0, 51),
    "vram_budget": (0, 10_000),
    "tile_height": (0, 8192),
    "tile_width": (0, 8192),
}
MULTIPLIERS = (-100.0, 100.0)
# The rates of television and film that run a thousandth slower than their name. People write them with two decimals or
# with three: 23.98, 23.976.
SLOWED_RATES = tuple(rate * 1000 / 1001 for rate in (12, 15, 24, 30, 48, 60, 72, 90, 96, 120, 144, 240))
RATE_TOLERANCE = 0.005
FLAGS = {
    "tile_height": "--vae_tiling",
    "tile_width": "--vae_tiling",
    "height": "--video_size",
    "width": "--video_size",
    "num_frames": "--video_length",
    "round_timestep": "the model's round_timestep",
    "vae_dtype": "the model's vae_dtype",
}
WHOLE: tuple[str, ...] = ("height", "width", "num_frames", "infer_steps", "seed", "preview", "save_every", "crf")
WHOLE += ("tile_height", "tile_width")


def flag_of(name: str) -> str:
    """The command line's name for a field of `Options`; for one without a flag, what it is."""
    return FLAGS.get(name, f"--{name}")


def exact_rate(fps: float) -> float:
    """The frames per second that a number stands for: 24000/1001 for 23.976, for most numbers themselves."""
    return next((slowed for slowed in SLOWED_RATES if abs(fps - slowed) < RATE_TOLERANCE), fps)


def check_number(flag: str, value: float | str, low: float, high: float, *, whole: bool) -> None:
    """Refuse what is no finite number from `low` to `high`, or no whole one where it must be."""
    if isinstance(value, str) or (whole and not isinstance(value, int)):
        raise InputError(f"{flag} {value}: must be a whole number")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{flag} {value}: must be a finite number")
    if not low <= value <= high:
        raise InputError(f"{flag} {value}: must lie between {low} and {high}")


def check_multiple(flag: str, name: str, value: int) -> None:
    """Refuse a size in pixels that is off the grid; `name` is the side: height or width."""
    if value % SIZE_MULTIPLE:
        near = max(SIZE_MULTIPLE, SIZE_MULTIPLE * round(value / SIZE_MULTIPLE))
        raise InputError(f"{flag} {value}: the {name} must be a multiple of {SIZE_MULTIPLE}, for example {near}")


def check_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse what is not one of `choices`."""
    if value not in choices:
        raise InputError(f"{flag} {value}: must be one of {', '.join(choices)}")


def check_text(flag: str, text: str) -> None:
    """Refuse text that cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{flag}: is not valid UTF-8 text (character {error.start + 1})") from error
