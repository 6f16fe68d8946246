"""What does the VAE cost, and what do its options save? `python -m benchmarks.vae`, true shape, random weights.

Seconds are of decoding two latent frames, whole and in tiles, in both layouts of the weights. Memory is counted at
480x832 on tensors without numbers, so it is that of any length of video.
"""

from __future__ import annotations

import argparse
import sys

import torch
from diffusers import AutoencoderKLWan

from benchmarks.counting import LiveBytes
from benchmarks.table import columns, heading, interleaved
from wan2.models.vae import Tiles, WanVAE, channels_last
from wan2.plan.memory import VAE_CACHE_PER_PIXEL, Decoding

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
HEIGHT, WIDTH = 480, 832


def make(dtype: torch.dtype, last: bool) -> WanVAE:
    """A VAE of the published shape; its weights are the same whatever the layout."""
    torch.manual_seed(0)
    model = AutoencoderKLWan().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    if last:
        channels_last(model)
    return WanVAE(model)


def timed(name: str, side: int, rounds: int) -> list[list[str]]:
    """Rows of one dtype: seconds of both layouts and in tiles, and how far the results are apart."""
    dtype = DTYPES[name]
    plain, last = make(dtype, False), make(dtype, True)
    latents = torch.randn(1, 16, 2, side, side)
    tiles = Tiles((side, side // 2 + 2), (side, side // 2 - 2))
    ways = {
        "contiguous": lambda: plain.decode(latents),
        "channels last": lambda: last.decode(latents),
        "contiguous, two tiles": lambda: plain.decode(latents, tiles),
    }
    exact = plain.decode(latents).float()
    seconds = interleaved(ways, rounds)
    rows = []
    for way, took in seconds.items():
        far = (ways[way]().float() - exact).abs().max().item()
        rows.append([f"{name}, {way}", f"{took:.2f}", f"{took / seconds['contiguous']:.2f}x", f"{far:.1e}"])
    return rows


def counted() -> list[list[str]]:
    """Rows of memory in bfloat16: predicted, and counted where it can be."""
    rows = []
    for name, tile in {"whole": (HEIGHT, WIDTH), "--vae_tiling 240 416": (240, 416)}.items():
        with torch.device("meta"):
            vae = WanVAE(AutoencoderKLWan().bfloat16().eval().requires_grad_(False))
        latents = torch.empty(1, 16, 3, tile[0] // 8, tile[1] // 8, device="meta")
        with LiveBytes() as live:
            for chunk in vae._decoded(latents):
                del chunk
        plain = Decoding(241, HEIGHT * WIDTH, tile[0] * tile[1], weights=0).device(2)
        hosted = Decoding(241, HEIGHT * WIDTH, tile[0] * tile[1], True, weights=0).device(2)
        waits = tile[0] * tile[1] * VAE_CACHE_PER_PIXEL * 2
        rows.append([name, f"{plain / 1e9:.2f}", f"{live.peak / 1e9:.2f}", f"{plain / live.peak:.2f}"])
        rows.append([f"{name}, --vae_cache_cpu", f"{hosted / 1e9:.2f}", f"({waits / 1e9:.2f} on the host)", ""])
    return rows


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.vae", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=6, help="latent rows and columns of what is timed")
    args = parser.parse_args()
    with torch.inference_mode():
        times = [["seconds of two latent frames", "measured", "ratio", "largest difference"]]
        times += [row for name in DTYPES for row in timed(name, args.side, args.rounds)]
        memory = [["GB alive at 480x832, bfloat16, any length", "predicted", "counted", "ratio"], *counted()]
    times.append(["241 frames, 480x832, any GPU", "not measured", "", ""])
    sys.stdout.write(
        heading("benchmarks.vae", sys.argv[1:])
        + f"{8 * args.side}x{8 * args.side} pixels; medians of {args.rounds}, interleaved. A processor gets\n"
        "channels last in bfloat16, contiguous in float32; other devices, not measured, get contiguous.\n\n"
        + columns(times)
        + "\n"
        + columns(memory)
    )


if __name__ == "__main__":
    main()
