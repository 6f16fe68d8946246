"""What is written is read by diffusers (through PEFT) and here, to the same forward."""

from __future__ import annotations

from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

from tests.wan2.training.test_gradients import CONFIG, LAYOUT, random_adapters, sample_of
from wan2.models.conditioning import Conditioning
from wan2.models.transformer import WanTransformer
from wan2.training.adapters import Adapters
from wan2.training.frozen import Whole
from wan2.training.lora_file import is_ours, lora_tensors, notes_of, save_lora
from wan2.training.step import loss_of
from wan2.weights.checkpoint import inspect_transformer, load_transformer
from wan2.weights.names import native_name
from wan2.weights.sources import Lora


def trained(folder: Path) -> tuple[Path, Path, Adapters]:
    """A checkpoint, a LoRA for it, and the adapters that it is of."""
    torch.manual_seed(0)
    model = WanTransformer(CONFIG).requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2)
    base, lora, adapters = folder / "base.safetensors", folder / "lora.safetensors", random_adapters()
    save_file(model.state_dict(), base, {"num_heads": str(CONFIG.num_heads)})
    halves = {name: half.detach() for name, half in adapters.halves.items()}
    save_lora(lora, lora_tensors(adapters, halves, torch.float32), notes_of(adapters, "test"))
    return base, lora, adapters


@torch.no_grad()
def test_diffusers_peft_and_this_program_compute_the_same(tmp_path: Path):
    base, lora, adapters = trained(tmp_path)
    sample = sample_of("plain")
    merged = load_transformer(inspect_transformer(base, [Lora(lora, 1.0)]), "cpu", torch.float32)
    plain = load_transformer(inspect_transformer(base), "cpu", torch.float32)
    ours = merged(sample.noisy, sample.timestep, sample.conditioning)
    loss = (ours - sample.velocity).double().square().mean()
    assert abs(loss_of(Whole(plain), adapters, sample) / float(loss) - 1) < 1e-5
    theirs = diffusers.WanTransformer3DModel(
        num_attention_heads=CONFIG.num_heads,
        attention_head_dim=CONFIG.head_dim,
        text_dim=CONFIG.text_dim,
        freq_dim=CONFIG.freq_dim,
        ffn_dim=CONFIG.ffn_dim,
        num_layers=CONFIG.num_layers,
    ).eval()
    weights = plain.state_dict()
    theirs.load_state_dict({name: weights[native_name(name)] for name in theirs.state_dict()})
    before = theirs(sample.noisy, sample.timestep[None], sample.conditioning.context, return_dict=False)[0]
    theirs.load_lora_adapter(diffusers.WanPipeline.lora_state_dict(str(lora)), prefix="transformer")
    after = theirs(sample.noisy, sample.timestep[None], sample.conditioning.context, return_dict=False)[0]
    assert float((after - ours).norm() / ours.norm()) < 1e-5 < float((before - ours).norm() / ours.norm())


@torch.no_grad()
def test_a_multiplier_of_zero_changes_no_bit(tmp_path: Path):
    base, lora, _ = trained(tmp_path)
    sample = sample_of("sparse")
    one, other = (
        load_transformer(inspect_transformer(base, loras), "cpu", torch.float32) for loras in ((), [Lora(lora, 0.0)])
    )
    conditioning: Conditioning = sample.conditioning
    assert torch.equal(*(model(sample.noisy, sample.timestep, conditioning) for model in (one, other)))
    assert LAYOUT.num_shots == 3


def test_a_file_is_known_again(tmp_path: Path):
    base, lora, _ = trained(tmp_path)
    assert is_ours(lora) and not is_ours(base) and not is_ours(tmp_path / "gone")
