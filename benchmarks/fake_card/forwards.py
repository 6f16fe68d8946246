"""Forwards of the published width on a card that is not there: few blocks stand for forty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from holocine_ext.shots.conditioning import plan_attentions
from holocine_ext.shots.layout import ShotLayout, plan_layout
from wan2.models.attention import dense_attention
from wan2.models.conditioning import Conditioning
from wan2.models.config import A14B
from wan2.models.forms import as_fp8
from wan2.models.fp8 import Fp8Linear
from wan2.models.fused import fused_regions
from wan2.models.held import hold
from wan2.models.layers import REGIONS
from wan2.models.transformer import WanTransformer
from wan2.text.tokenizer import TEXT_LENGTH
from wan2.weights.fp8 import linears

CUDA = torch.device("cuda")


@dataclass(frozen=True)
class Forward:
    """One step with guidance: both passes.

    size: latent rows and columns. fp8: how linears are held. together: both passes block by block. fused: by Triton's
    kernels.
    """

    sparse: bool
    frames: int = 241
    shots: int = 6
    size: tuple[int, int] = (60, 104)
    fp8: Literal["", "scaled", "fast"] = ""
    layers: int = 1
    together: bool = True
    fused: bool = False

    @property
    def layout(self) -> ShotLayout:
        """Even shots."""
        return plan_layout(self.frames, self.shots, None, self.size[0] * self.size[1] // 4)

    def model(self) -> WanTransformer:
        """The transformer in bfloat16, on the card."""
        with torch.device("meta"):
            model = WanTransformer(replace(A14B, num_layers=self.layers))
        if self.fp8:
            weights = [f"blocks.{index}.{name}" for index in range(self.layers) for name in linears(A14B)]
            hold(model, as_fp8(weights), fast={"fp8"} if self.fp8 == "fast" else ())
        put_on_card(model)
        model.regions = fused_regions() if self.fused else REGIONS
        return model

    def passes(self) -> list[Conditioning]:
        """Both passes, the one with the prompt through windows of the text."""
        layout = self.layout
        windows = [((0, 100), (100 + 10 * n, 131 + 10 * n), (300, TEXT_LENGTH)) for n in range(layout.num_shots)]
        attentions = plan_attentions(layout, tuple(windows), self.sparse, dense_attention)
        contexts = torch.empty(2, 1, TEXT_LENGTH, A14B.text_dim, dtype=torch.bfloat16, device=CUDA)
        return [Conditioning(c, a.self_attn, a.cross_attn) for c, a in zip(contexts, attentions, strict=True)]

    def run(self, model: WanTransformer) -> list[Tensor]:
        """Velocities of both passes."""
        latents = torch.empty(1, A14B.in_dim, self.layout.latent_frames, *self.size, device=CUDA)
        run = model.run_together if self.together else model.passes
        with torch.inference_mode():
            return run(latents, torch.tensor(900.0), self.passes())


def put_on_card(model: nn.Module) -> None:
    """Parameters of the card in a module that has no memory yet."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = _on_card(parameter, module, name)


def _on_card(parameter: Tensor, module: nn.Module, name: str) -> nn.Parameter:
    """In bfloat16, except for weights in fp8 and their scales."""
    kept = isinstance(module, Fp8Linear) and name in ("stored", "scale")
    dtype = parameter.dtype if kept else torch.bfloat16
    return nn.Parameter(torch.empty(parameter.shape, dtype=dtype, device=CUDA), requires_grad=False)
