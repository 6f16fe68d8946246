"""LoRAs of random values, spelled as different programs spell them, and what they come to by the plain formula."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from wan2.models.config import TransformerConfig

LINEARS = [f"{part}_attn.{name}" for part in ("self", "cross") for name in "qkvo"] + ["ffn.0", "ffn.2"]
DIFFUSERS = {"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2"} | {
    f"{part}_attn.{name}": f"attn{number}.to_{'out.0' if name == 'o' else name}"
    for number, part in enumerate(("self", "cross"), 1)
    for name in "qkvo"
}


@dataclass
class Drawn:
    """Pairs (up, down, alpha) by module, and whole differences by the native name of their tensor."""

    pairs: dict[str, tuple[Tensor, Tensor, float | None]] = field(default_factory=dict)
    whole: dict[str, Tensor] = field(default_factory=dict)

    def deltas(self, multiplier: float = 1.0) -> dict[str, Tensor]:
        """Native name -> what is added, by the formula, in fp64."""
        found = {name: multiplier * tensor.double() for name, tensor in self.whole.items()}
        for module, (up, down, alpha) in self.pairs.items():
            scale = 1.0 if alpha is None else alpha / down.shape[0]
            product = multiplier * scale * up.double().flatten(1) @ down.double().flatten(1)
            name = f"{module}.weight"
            found[name] = found.get(name, 0) + product
        return found


def draw(
    config: TransformerConfig,
    seed: int = 0,
    rank: int = 4,
    alpha: float | None = 2.0,
    dtype: torch.dtype = torch.bfloat16,
) -> Drawn:
    """A LoRA of every linear of every block, large enough to be seen in a video."""
    rng, shapes, drawn = torch.Generator().manual_seed(seed), config.tensor_shapes(), Drawn()
    for module in (f"blocks.{index}.{linear}" for index in range(config.num_layers) for linear in LINEARS):
        rows, columns = shapes[f"{module}.weight"]
        up, down = torch.randn(rows, rank, generator=rng), torch.randn(rank, columns, generator=rng)
        drawn.pairs[module] = (0.1 * up).to(dtype), (0.1 * down).to(dtype), alpha
    return drawn


def with_whole(drawn: Drawn, config: TransformerConfig, seed: int = 1) -> Drawn:
    """The same, with differences of norms, biases, modulations and of what is no block."""
    rng, shapes = torch.Generator().manual_seed(seed), config.tensor_shapes()
    names = ["blocks.0.self_attn.norm_q.weight", "blocks.1.norm3.weight", "blocks.1.norm3.bias", "blocks.2.modulation"]
    names += [
        "blocks.0.ffn.2.bias",
        "head.modulation",
        "head.head.weight",
        "patch_embedding.weight",
        "text_embedding.0.bias",
    ]
    whole = {name: 0.1 * torch.randn(shapes[name], generator=rng) for name in names}
    return Drawn(drawn.pairs, whole)


def kohya(drawn: Drawn) -> dict[str, Tensor]:
    """As musubi-tuner writes it."""
    found = {}
    for module, (up, down, alpha) in drawn.pairs.items():
        name = f"lora_unet_{module.replace('.', '_')}"
        found |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        found |= {} if alpha is None else {f"{name}.alpha": torch.tensor(alpha)}
    return found


def comfy(drawn: Drawn, prefix: str = "diffusion_model.") -> dict[str, Tensor]:
    """As LightX2V and ComfyUI write it, whole differences included."""
    found = {}
    for module, (up, down, alpha) in drawn.pairs.items():
        found |= {f"{prefix}{module}.lora_down.weight": down, f"{prefix}{module}.lora_up.weight": up}
        found |= {} if alpha is None else {f"{prefix}{module}.alpha": torch.tensor(alpha)}
    for name, tensor in drawn.whole.items():
        module, _, leaf = name.rpartition(".")
        found[f"{prefix}{module}.{ {'weight': 'diff', 'bias': 'diff_b', 'modulation': 'diff_m'}[leaf] }"] = tensor
    return found


def peft(drawn: Drawn, prefix: str = "", infix: str = ".default") -> dict[str, Tensor]:
    """As training scripts over PEFT write it, with native names of the modules."""
    return {
        f"{prefix}{module}.lora_{half}{infix}.weight": tensor
        for module, (up, down, _) in drawn.pairs.items()
        for half, tensor in (("A", down), ("B", up))
    }


def in_diffusers(module: str) -> str:
    """What diffusers calls a module."""
    _, index, linear = module.split(".", 2)
    return f"transformer.blocks.{index}.{DIFFUSERS[linear]}"


def diffusers(drawn: Drawn) -> dict[str, Tensor]:
    """As diffusers writes it, with its own names of the modules."""
    return peft(Drawn({in_diffusers(module): pair for module, pair in drawn.pairs.items()}), infix="")


def write_lora(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path
