"""What is found out about a training before anything loads: clips, model files, memory. Raises, or all is well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holocine_ext.teach.data import Example, held_out, read_examples
from holocine_ext.teach.settings import Job
from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.models.forms import Form, as_fp8
from wan2.plan.files import Files, naming
from wan2.plan.saved_latents import CHANNELS
from wan2.request.model import Expert
from wan2.weights.fp8 import quantised
from wan2.weights.held import held_weights
from wan2.weights.sources import TransformerFile


@dataclass(frozen=True)
class Found:
    """Clips to train on, clips that are held out, sizes of the experts and their weights held in fewer bits."""

    train: list[Example]
    held_out: list[Example]
    config: TransformerConfig
    held: Mapping[str, Form]

    @property
    def longest(self) -> Example:
        """The clip that takes the most memory."""
        return max(self.train, key=lambda example: example.layout.tokens)


def find(job: Job, files: Files, absent_allowed: bool = False) -> Found:
    """Look at everything that a training needs.

    Args:
        job: what was asked.
        files: where files are opened.
        absent_allowed: whether transformers of published sizes may be absent, when nothing is trained.

    Raises:
        InputError: the first thing that will not do.
    """
    model = job.request.model
    _check_there(job, absent_allowed)
    examples = read_examples(job.data, model.tokenizer, files)
    train, out = held_out(examples, job.watching.held_out, job.teaching.seed)
    quantise = job.request.compute.quantises
    published = job.preset.published
    if absent_allowed and published is not None and not all(expert.path.exists() for expert in model.experts):
        return Found(train, out, published, as_fp8(quantised(published) if quantise else ()))
    first, *_ = [expert_file(job, expert, files) for expert in model.experts]
    return Found(train, out, first.config, held_weights(first, quantise))


def _check_there(job: Job, absent_allowed: bool) -> None:
    model = job.request.model
    paths = {"tokenizer": model.tokenizer}
    if not absent_allowed:
        paths |= {"vae": model.vae, "t5": model.t5} | {expert.flag: expert.path for expert in model.experts}
    for name, path in paths.items():
        if not path.exists():
            raise InputError("no such file or folder", field=name, value=path)
    if job.request.compute.blocks_to_swap == 1:
        raise InputError("training streams at least 2 blocks, or none", field="blocks_to_swap", value=1)


def expert_file(job: Job, expert: Expert, files: Files) -> TransformerFile:
    """The checkpoint of an expert, of the variant that is trained.

    Raises:
        InputError: it is another one.
    """
    with naming(expert.flag, expert.path):
        file = files.base(expert)
    stated = file.header.metadata.get("variant", job.preset.variant)
    if stated != job.preset.variant:
        rule = f"holds {stated} weights, which cannot be trained as `variant` {job.preset.variant}"
        raise InputError(rule, field=expert.flag, value=expert.path)
    if file.config.in_dim != CHANNELS:
        rule = f"takes {file.config.in_dim} latent channels; training gives it {CHANNELS}"
        raise InputError(rule, field=expert.flag, value=expert.path)
    return file
