"""How well does the miniature's VAE draw? `python -m benchmarks.nano_vae`: its error beside that of its teacher."""

from __future__ import annotations

import sys
from random import Random

import torch

from holocine_ext.evaluate.nano_world.world import draw, random_cuts, random_scene
from holocine_ext.presets import MODELS
from tools.nano.code import load_code, to_tensor
from wan2.run.vae import inspect_vae, load_vae

HELD_OUT_SEED = 77
CLIPS = 6


def main() -> None:
    """Decode the linear code of held-out clips of 33 frames, and what the VAE's own encoder makes of them."""
    code = load_code()
    vae = load_vae(inspect_vae(MODELS["nano"]["full"].model.vae), "cpu", torch.float32)
    rng = Random(HELD_OUT_SEED)
    errors: dict[str, list[float]] = {"linear code": [], "code, then decoder": [], "encoder, then decoder": []}
    for _ in range(CLIPS):
        video = to_tensor(draw(random_scene(rng, 33, random_cuts(rng, 33, 2))))
        latents = code.encode(video)
        drawn = (code.decode(latents).clamp(-1, 1), vae.decode(latents), vae.decode(vae.encode(video)))
        for values, pixels in zip(errors.values(), drawn, strict=True):
            values.append((pixels - video).abs().mean().item())
    for name, values in errors.items():
        sys.stdout.write(f"{name:24} L1 {sum(values) / len(values):.4f}\n")


if __name__ == "__main__":
    main()
