"""What a training takes: memory of the longest clip, operations, time. Opens headers and clips, loads nothing."""

from __future__ import annotations

from dataclasses import dataclass

from holocine_ext.report import duration
from holocine_ext.shots.flops import attention_pairs, forward_flops, text_pairs
from holocine_ext.teach.data import Example
from holocine_ext.teach.pieces import pieces_of
from holocine_ext.teach.plan import Found, find
from holocine_ext.teach.settings import Job
from wan2.errors import InputError
from wan2.models.config import TransformerConfig
from wan2.models.kernel_table import AUTO
from wan2.plan.budget import GB, MARGIN, value_bytes
from wan2.plan.files import Files
from wan2.plan.rates import Rate
from wan2.streaming.residency import weight_bytes
from wan2.text.tokenizer import TEXT_LENGTH
from wan2.training.adapter_table import TARGETS
from wan2.training.memory import Trained, TrainingMemory, adapter_values, predict_training

# Of the operations of a pass: linears run forward, once more, and back to their input; attention twice forward, and
# back at two and a half times the cost.
LINEAR, ATTENTION = 3, 4.5


@dataclass(frozen=True)
class Need:
    """What a training needs with so many streamed blocks."""

    streamed: int
    memory: TrainingMemory


def needs(job: Job, found: Found, streamed: int) -> Need:
    """The memory of a step on the longest clip."""
    config, longest = found.config, found.longest
    size = value_bytes(job.request)
    linears = tuple(name for target in job.teaching.targets for name in TARGETS[target])
    values = adapter_values(config, linears, job.teaching.rank)
    trained = Trained(values, job.watching.offload_inputs, job.teaching.optimiser == "adamw8bit")
    pieces = pieces_of(longest.layout, longest.key_ranges, job.sparse)
    weights = weight_bytes(config, size, found.held)
    return Need(streamed, predict_training(config, weights, streamed, pieces, trained, size))


def fitted(job: Job, found: Found, free: int | None) -> Need:
    """As few streamed blocks as fit a budget or so many free bytes; what was given stays.

    Raises:
        InputError: nothing fits a budget; with the least that is needed.
    """
    compute = job.request.compute
    budget = int(compute.vram_budget * GB) or free
    counts = (
        [0, *range(2, found.config.num_layers + 1)] if compute.blocks_to_swap == AUTO else [int(compute.blocks_to_swap)]
    )
    every = [needs(job, found, count) for count in counts]
    if budget is None:
        return every[0]
    fits = next((need for need in every if need.memory.device * MARGIN <= budget), None)
    if fits is None and compute.vram_budget:
        least = min(need.memory.device for need in every) * MARGIN / GB
        helps = "" if job.watching.offload_inputs else "; `offload_inputs` helps"
        rule = f"a step on {found.longest.name} needs at least {least:.3g} GB{helps}"
        raise InputError(rule, field="vram_budget", value=f"{compute.vram_budget:g}")
    return fits or every[-1]


def operations(job: Job, config: TransformerConfig, example: Example) -> float:
    """Operations of a step on one clip."""
    tokens = example.layout.tokens
    own = attention_pairs(example.layout, job.sparse)
    text = text_pairs(example.layout, example.key_ranges, TEXT_LENGTH)
    linear = forward_flops(config, 0, 0, tokens, TEXT_LENGTH)
    return LINEAR * linear + ATTENTION * (forward_flops(config, own, text, tokens, TEXT_LENGTH) - linear)


def forecast(job: Job, files: Files, rate: Rate | None = None) -> str:
    """What a training takes, as lines; its time, too, where it is known what the machine does in a second.

    Raises:
        InputError: clips or models that will not do, or a budget that nothing fits.
    """
    found = find(job, files, absent_allowed=True)
    train, config, longest = found.train, found.config, found.longest
    need = fitted(job, found, None)
    step = job.teaching.batch * sum(operations(job, config, example) for example in train) / len(train)
    steps = job.teaching.steps * len(job.watching.noises)
    time = [] if rate is None else _time(step, steps, rate)
    shots = sum(example.layout.num_shots for example in train)
    return "\n".join(
        [
            f"clips     {len(train)} of {shots} shots to train on, {len(found.held_out)} held out",
            f"longest   {longest.name}: {longest.shape.num_frames} frames, {longest.layout.num_shots} shots, "
            f"{longest.layout.tokens} tokens",
            f"device    {need.memory.device / GB:.1f} GB predicted, {need.streamed} of {config.num_layers} blocks "
            "streamed",
            f"host      {need.memory.host / GB:.1f} GB predicted beside it",
            f"compute   {step / 1e12:.3g} TFLOP a step, {steps} steps in all, {step * steps / 1e15:.3g} PFLOP",
            *time,
        ]
    )


def _time(step: float, steps: int, rate: Rate) -> list[str]:
    """Lines on the time of so many steps; step: operations of one."""
    seconds = step / rate.tflops / 1e12
    line = f"time      predicted: {duration(seconds)} a step, {duration(seconds * steps)} in all, without films"
    return [line, f"          {rate.source}"]
