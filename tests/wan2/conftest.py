"""The reference VAE, and the figures that the original made with it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.tiny import DATA
from wan2.models.vae import WanVAE
from wan2.run.vae import inspect_vae, load_vae


@pytest.fixture(scope="session")
def vae() -> WanVAE:
    """In fp32."""
    return load_vae(inspect_vae(DATA / "vae.safetensors"), "cpu", torch.float32)


@pytest.fixture(scope="session")
def figures() -> dict[str, Tensor]:
    """Inputs and results, by name."""
    return load_file(DATA / "vae_cases.safetensors")
