"""One run, as one sentence: encode the text, denoise the latents, decode them into the file. Prints nothing.

Every stage loads its model, uses it and lets it go before the next begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from wan2.conditioning import Attentions, Conditioning
from wan2.device import Machine, resolve_machine
from wan2.errors import RunError
from wan2.latents import load_latents, save_latents
from wan2.loading.checkpoint import load_transformer
from wan2.models.attention import attention_kernel
from wan2.models.text_encoder import encode, load_text_encoder
from wan2.models.vae import load_vae, to_uint8
from wan2.options import Options
from wan2.outputs import OutputPaths, plan_outputs, whole_file
from wan2.preflight import check_run, prompts_of
from wan2.preview import preview_sheet
from wan2.record import Timings, describe_run, fingerprints, host_peak_bytes, write_record
from wan2.sampling.denoise import DenoisePlan, denoise, initial_noise
from wan2.video_io import VideoWriter

if TYPE_CHECKING:
    import numpy as np

    from wan2.models.transformer import WanTransformer

FrameSink = Callable[[int, "np.ndarray"], None]
"""Told every decoded frame in order: its number from 0 and its pixels, uint8 [H, W, 3]."""
