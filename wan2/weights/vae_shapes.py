"""Name -> shape of every tensor of a Wan2.1 VAE, in integers. Knows no files; imports no PyTorch.

Source: diffusers' `AutoencoderKLWan`; a test holds these shapes against the module's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

Shapes = dict[str, tuple[int, ...]]


def tensor_shapes(config: Mapping[str, Any]) -> Shapes:
    """The tensors of a VAE with these arguments of `AutoencoderKLWan`, as `vae_names.config_from_shapes` gives them."""
    latent = config["z_dim"]
    return {
        **{f"encoder.{name}": shape for name, shape in _encoder(config)},
        **{f"decoder.{name}": shape for name, shape in _decoder(config)},
        **_conv("quant_conv", 2 * latent, 2 * latent, 1, 1, 1),
        **_conv("post_quant_conv", latent, latent, 1, 1, 1),
    }


def _encoder(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    base, places = config["base_dim"], iter(range(1 << 10))
    widths = [base, *(base * factor for factor in config["dim_mult"])]
    shapes = _conv("conv_in", base, config["in_channels"], 3, 3, 3)
    for stage, (before, width) in enumerate(pairwise(widths)):
        for index in range(config["num_res_blocks"]):
            shapes |= _residual(f"down_blocks.{next(places)}", width if index else before, width)
        if stage < len(widths) - 2:
            name = f"down_blocks.{next(places)}"
            shapes |= _conv(f"{name}.resample.1", width, width, 3, 3)
            if config["temperal_downsample"][stage]:
                shapes |= _conv(f"{name}.time_conv", width, width, 3, 1, 1)
    yield from (shapes | _ends(widths[-1], 2 * config["z_dim"], widths[-1])).items()


def _decoder(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    factors, through_time = config["dim_mult"][::-1], config["temperal_downsample"][::-1]
    widths = [config["decoder_base_dim"] * factor for factor in (factors[0], *factors)]
    shapes = _conv("conv_in", widths[0], config["z_dim"], 3, 3, 3)
    for stage, (before, width) in enumerate(pairwise(widths)):
        # An upsampler halves the channels, except before the first stage.
        entering = before // 2 if stage else before
        for index in range(config["num_res_blocks"] + 1):
            shapes |= _residual(f"up_blocks.{stage}.resnets.{index}", width if index else entering, width)
        if stage < len(widths) - 2:
            name = f"up_blocks.{stage}.upsamplers.0"
            shapes |= _conv(f"{name}.resample.1", width // 2, width, 3, 3)
            if through_time[stage]:
                shapes |= _conv(f"{name}.time_conv", 2 * width, width, 3, 1, 1)
    yield from (shapes | _ends(widths[-1], config["out_channels"], widths[0])).items()


def _ends(width: int, out: int, middle: int) -> Shapes:
    """What an encoder and a decoder both have: the middle, and the way out."""
    shapes = _residual("mid_block.resnets.0", middle, middle) | _residual("mid_block.resnets.1", middle, middle)
    attention = "mid_block.attentions.0"
    shapes |= {f"{attention}.norm.gamma": (middle, 1, 1)}
    shapes |= _conv(f"{attention}.to_qkv", 3 * middle, middle, 1, 1) | _conv(f"{attention}.proj", middle, middle, 1, 1)
    return shapes | {"norm_out.gamma": (width, 1, 1, 1)} | _conv("conv_out", out, width, 3, 3, 3)


def _residual(name: str, before: int, width: int) -> Shapes:
    shapes: Shapes = {f"{name}.norm1.gamma": (before, 1, 1, 1), f"{name}.norm2.gamma": (width, 1, 1, 1)}
    shapes |= _conv(f"{name}.conv1", width, before, 3, 3, 3) | _conv(f"{name}.conv2", width, width, 3, 3, 3)
    return shapes if before == width else shapes | _conv(f"{name}.conv_shortcut", width, before, 1, 1, 1)


def _conv(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
