"""One video on several cards, here processes of the CPU: the same latents as on one, whoever does what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from holocine_ext import Output, Request, Sampling, Session, Storyboard, models
from holocine_ext.plan import Plan
from wan2.errors import RunError
from wan2.events import Failed, StepTaken
from wan2.request.cards import Cards
from wan2.request.compute import Compute

ROOT = Path(__file__).parents[1]
CPU = Compute(device="cpu")
LENGTHS = {1: (9,), 3: (9, 17, 5), 13: (1, 4, 4, 4, 8, 4, 4, 4, 4, 4, 4, 4, 4)}
ULYSSES = 1e-5  # of the norm: the pieces of a linear differ in length


def plan(folder: Path, name: str, variant: str, shots: int, cards: Cards, **compute: object) -> Plan:
    frames = LENGTHS[shots]
    cuts = [sum(frames[:number]) for number in range(1, shots)]
    scene = Storyboard.of("A ball and a box.", [f"View {number}." for number in range(shots)], cuts)
    output = Output(folder / f"{name}.safetensors", output_type="latent")
    sampling = Sampling(infer_steps=3, flow_shift=5.0, sample_solver="euler")
    given = {"size": (32, 48), "num_frames": sum(frames), "sampling": sampling, "seed": 4, "output": output}
    return Request(scene, models["nano"][variant], compute=Compute(device="cpu", **compute), cards=cards, **given).plan()
