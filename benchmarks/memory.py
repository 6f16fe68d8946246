"""Are the predictions of memory true? `python -m benchmarks.memory`: predicted, measured, ratio, a line a stage.

Measured are the bytes of tensors that are alive at once, counted while the stage runs: on the miniature with numbers,
on the published shapes without (tensors that have a shape and no memory). Weights that stay are added to both.
What a whole process takes, libraries included, `benchmarks.true_run` measures.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from benchmarks.counting import LiveBytes
from benchmarks.table import columns, heading
from holocine_ext.presets import MODELS
from holocine_ext.shots.conditioning import plan_attentions
from holocine_ext.shots.flops import attended
from holocine_ext.shots.layout import ShotLayout, plan_layout
from wan2.models.attention import DenseAttention
from wan2.models.conditioning import Conditioning
from wan2.models.config import A14B, TransformerConfig
from wan2.models.forms import FP8_BYTES, as_fp8
from wan2.models.held import hold
from wan2.models.transformer import WanTransformer
from wan2.models.vae import WanVAE
from wan2.plan.budget import Work, predict, vae_size
from wan2.plan.files import Files
from wan2.plan.memory import Decoding, encoder_bytes
from wan2.request.flat import make_request
from wan2.request.request import Request
from wan2.run.text_encoder import encode, load_text_encoder
from wan2.run.vae import inspect_vae, load_vae
from wan2.streaming.residency import ENCODER_RING_BYTES, RING_BLOCKS
from wan2.streaming.text_layers import LayerFile
from wan2.text.tokenizer import TEXT_LENGTH, load_tokenizer
from wan2.weights.checkpoint import load_transformer

MB = 1e6
UNGUIDED = {"guidance_scale": 1.0, "guidance_scale_high_noise": 1.0}
UMT5 = UMT5Config(
    vocab_size=2, d_model=4096, d_kv=64, d_ff=10240, num_layers=1, num_heads=64, relative_attention_num_buckets=32,
    dropout_rate=0.0,
)  # fmt: skip


def alive(run: Callable[[], object]) -> int:
    """The most bytes alive at once among tensors made by `run`."""
    with LiveBytes() as live, torch.inference_mode():
        run()
    return live.peak


def like_q(q: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    """A kernel that needs no memory but its result."""
    return torch.empty_like(q)


def forward(config: TransformerConfig, layout: ShotLayout, sparse: bool, size: tuple[int, int]) -> int:
    """Bytes alive in one pass in bfloat16, without numbers; one block stands for all."""
    dense, _ = plan_attentions(layout, None, sparse, DenseAttention("fused", like_q))
    with torch.device("meta"):
        model = WanTransformer(replace(config, num_layers=1)).bfloat16().requires_grad_(False)
        latents, timestep = torch.empty(1, config.in_dim, layout.latent_frames, *size), torch.empty(1)
        context = torch.empty(1, TEXT_LENGTH, config.text_dim, dtype=torch.bfloat16)
    return alive(lambda: model(latents, timestep, Conditioning(context, dense.self_attn, dense.cross_attn)))


def published(frames: int, shots: int, sparse: bool) -> list[list[str]]:
    """Rows of the real model: the work of a pass, and the decoder whole and in tiles."""
    layout = plan_layout(frames, shots, None, 1560)
    values = {"prompt": "-", "num_frames": frames, "device": "cuda", **UNGUIDED}
    request = make_request(MODELS["holocine"]["full"], values)
    memory = predict(request, Work(A14B, attended=attended(layout, sparse)))
    name = f"14B, {frames} frames, 480x832, {shots} shots, {'sparse' if sparse else 'full'}: work of a pass"
    return [row(name, memory.transformer_work, forward(A14B, layout, sparse, (60, 104)))]


def decoder(height: int, width: int) -> list[str]:
    """The row of the published VAE, without numbers, in bfloat16."""
    with torch.device("meta"):
        model = AutoencoderKLWan().bfloat16().eval().requires_grad_(False)
    latents = torch.empty(1, 16, 3, height // 8, width // 8, device="meta", dtype=torch.bfloat16)

    def decode() -> None:
        for chunk in WanVAE(model)._decoded(latents):
            del chunk

    predicted = Decoding(241, height * width, height * width, weights=0).device(2)
    return row(f"Wan2.1 VAE, {height}x{width}: four frames decoded", predicted, alive(decode))


def miniature(frames: int, height: int, width: int) -> list[list[str]]:
    """Rows of nano, in fp32, with numbers: every stage."""
    preset = MODELS["nano"]["sparse"]
    values = {"prompt": "a red ball", "num_frames": frames, "height": height, "width": width, "device": "cpu"}
    request = make_request(preset, {**values, **UNGUIDED, "blocks_to_swap": 0})
    shape, name = request.shape, f"nano, {frames} frames, {height}x{width}"
    layout = plan_layout(frames, 3, None, shape.tokens_per_frame)
    files = Files()
    high = files.transformer(request.model, request.model.expert("high"))
    config = high.config
    work = Work(config, attended=attended(layout, True), vae=vae_size(request, files))
    memory = predict(request, work)
    model = load_transformer(high, "cpu", torch.float32)
    dense, _ = plan_attentions(layout, None, True, DenseAttention("fused", like_q))
    context = torch.zeros(1, TEXT_LENGTH, config.text_dim)
    latents = torch.zeros(1, *shape.latent)
    given = Conditioning(context, dense.self_attn, dense.cross_attn).keeping_text(shape.tokens)
    weights = sum(map(math.prod, config.tensor_shapes().values())) * 4
    pass_ = alive(lambda: model(latents, torch.tensor(900.0), given))
    return [
        row(f"{name}: text encoder", memory.text_encoder, read_text(request)),
        row(f"{name}: transformer, with its weights", memory.transformer, weights + pass_),
        row(f"{name}: VAE, with its weights", memory.vae, decoded(request, latents, work)),
    ]


def read_text(request: Request) -> int:
    """Bytes alive while the longest prompt is read."""
    prompt = load_tokenizer(request.model.tokenizer).tokenize("ball " * TEXT_LENGTH).truncated(TEXT_LENGTH)
    encoder = load_text_encoder(request.model.t5, "cpu", torch.float32)
    return alive(lambda: encode(encoder, prompt))


def published_text(dtype: torch.dtype, fp8: bool = False) -> list[str]:
    """The row of UMT5-XXL, without numbers: the layers in its ring, and one of them at work."""
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5).to(dtype).eval().requires_grad_(False)
        states = torch.empty(1, TEXT_LENGTH, UMT5.d_model, dtype=dtype)
    layer = model.encoder.block[0]
    if fp8:
        hold(layer, as_fp8(f"{n}.weight" for n, part in layer.named_modules() if isinstance(part, nn.Linear)))
    size = LayerFile(Path(), {}, {"": layer}, dtype).layouts[0].nbytes
    slots = RING_BLOCKS if RING_BLOCKS * size <= ENCODER_RING_BYTES else 1
    predicted = encoder_bytes(UMT5.d_model, dtype.itemsize, FP8_BYTES if fp8 else 0)
    told = f"{str(dtype).removeprefix('torch.')}{', fp8' if fp8 else ''}"
    name = f"UMT5-XXL, {TEXT_LENGTH} tokens, {told}: {slots} of its layers and the work of one"
    return row(name, predicted, slots * size + alive(lambda: layer(states)))


def decoded(request: Request, latents: torch.Tensor, work: Work) -> int:
    """Bytes alive while the first frames of the latents are decoded, and the weights."""
    vae = load_vae(inspect_vae(request.model.vae), "cpu", torch.float32)

    def decode() -> None:
        for chunk in vae.decode_chunks(latents[:, :, :3]):
            del chunk

    return alive(decode) + work.vae[1] * 4


def row(name: str, predicted: float, measured: float) -> list[str]:
    """One line."""
    return [name, f"{predicted / MB:.2f}", f"{measured / MB:.2f}", f"{predicted / measured:.2f}"]


def main() -> None:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    rows = [["bytes alive, MB", "predicted", "measured", "predicted / measured"]]
    for size in ((33, 64, 64), (97, 64, 64), (33, 192, 192)):
        rows += miniature(*size)
    for case in ((81, 3, False), (241, 6, False), (241, 6, True), (241, 13, True), (961, 13, True)):
        rows += published(*case)
    rows += [published_text(torch.bfloat16), published_text(torch.bfloat16, fp8=True), published_text(torch.float32)]
    rows += [decoder(480, 832), decoder(240, 416)]
    rows.append(["any GPU: peak of a whole run, 241 frames", "", "not measured", ""])
    sys.stdout.write(heading("benchmarks.memory", sys.argv[1:]) + columns(rows))


if __name__ == "__main__":
    main()
