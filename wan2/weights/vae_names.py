"""The Wan2.1 VAE's published tensor names translated to those of diffusers, and the sizes they show. Knows no tensors.

Source: `Wan2.1_VAE.pth` (194 tensors) on one side, diffusers' `AutoencoderKLWan` on the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Applied in order to every name; a name diffusers already knows passes unchanged.
RENAMES = (
    (r"^conv1\.", "quant_conv."),
    (r"^conv2\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.conv1\.", r"\1.conv_in."),
    (r"^encoder\.downsamples\.", "encoder.down_blocks."),
    (r"\.middle\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.1\.", ".mid_block.attentions.0."),
    (r"\.middle\.2\.", ".mid_block.resnets.1."),
    (r"\.residual\.0\.", ".norm1."),
    (r"\.residual\.2\.", ".conv1."),
    (r"\.residual\.3\.", ".norm2."),
    (r"\.residual\.6\.", ".conv2."),
    (r"\.shortcut\.", ".conv_shortcut."),
    (r"\.head\.0\.", ".norm_out."),
    (r"\.head\.2\.", ".conv_out."),
)
UPSAMPLE = re.compile(r"^decoder\.upsamples\.(\d{1,4})\.")
UPSAMPLER = re.compile(r"^decoder\.upsamples\.(\d{1,4})\.resample\.")
DOWNSAMPLER = re.compile(r"^encoder\.down_blocks\.(\d{1,4})\.resample\.1\.weight$")

CONV_IN, CONV_OUT, LATENT = "encoder.conv_in.weight", "decoder.conv_out.weight", "post_quant_conv.weight"
SIZED_BY = (CONV_IN, "encoder.norm_out.gamma", "decoder.norm_out.gamma", CONV_OUT, LATENT)


def to_diffusers(names: Iterable[str]) -> dict[str, str]:
    """Published name -> name in `AutoencoderKLWan`, for every name of one checkpoint.

    The published decoder numbers its layers consecutively; diffusers by stage. A stage ends at its upsampler.
    """
    names = list(names)
    ends = [int(found[1]) for name in names if (found := UPSAMPLER.match(name))]
    stage_length = min(ends, default=0) + 1
    return {name: _rename(name, stage_length) for name in names}


def _rename(name: str, stage_length: int) -> str:
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    if found := UPSAMPLE.match(name):
        stage, layer = divmod(int(found[1]), stage_length)
        place = "upsamplers.0" if layer == stage_length - 1 else f"resnets.{layer}"
        name = f"decoder.up_blocks.{stage}.{place}.{name[found.end() :]}"
    return name


def config_from_shapes(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any] | None:
    """Arguments of `AutoencoderKLWan` read off shapes (diffusers names), or None if they are of another model."""
    ends = sorted(int(found[1]) for name in shapes if (found := DOWNSAMPLER.match(name)))
    widest = [f"encoder.down_blocks.{end - 1}.conv2.weight" for end in ends]
    sized = [shapes.get(name, ()) for name in (*SIZED_BY, *widest)]
    if not ends or any(not shape or 0 in shape for shape in sized) or len(shapes[CONV_IN]) < 2:
        return None
    base, in_channels = shapes[CONV_IN][:2]
    widths = [*(shapes[name][0] for name in widest), shapes["encoder.norm_out.gamma"][0]]
    return {
        "base_dim": base,
        "decoder_base_dim": shapes["decoder.norm_out.gamma"][0] * base // widths[0],
        "z_dim": shapes[LATENT][0],
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": ends[0],
        "temperal_downsample": [f"encoder.down_blocks.{end}.time_conv.weight" in shapes for end in ends],
        "in_channels": in_channels,
        "out_channels": shapes[CONV_OUT][0],
    }
