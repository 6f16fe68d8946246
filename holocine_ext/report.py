"""A plan as text for a terminal: what would be made, what each shot sees, what it costs. Runs nothing.

Frames are shown as people count them, first to last; records hold half-open ranges.
"""

from __future__ import annotations

from collections.abc import Sequence

from holocine_ext.forecast import Forecast, lora_words
from wan2.plan.budget import cuda_bytes
from wan2.plan.traffic import LINKS
from wan2.shown import one_line
from wan2.text.tokenizer import TEXT_LENGTH

MINUTE, HOUR = 60, 3600


def render(plan: Forecast) -> str:
    """The plan as text for a terminal: lines of at most 80 characters, but for long names and warnings."""
    layout, memory = plan.layout, plan.memory
    rows: list[tuple[str, ...]] = [("shot", "frames", "seconds", "latents", "tokens", "asked > cut", "sees text")]
    rows += [_row(plan, number) for number in range(len(plan.shots))]
    request, sampling = plan.request, plan.request.sampling
    ratio = plan.full_flops / plan.negative_flops
    lines = [
        f"video      {layout.num_frames} frames, {layout.num_frames / request.fps:.1f} s at {request.fps:g} fps, "
        f"{request.width} wide x {request.height} high",
        f"           {layout.latent_frames} latent frames of {layout.tokens_per_frame:,} tokens, "
        f"{layout.tokens:,} in all",
        f"text       {'about ' if plan.text.estimated else ''}{plan.text.tokens} of {TEXT_LENGTH} tokens"
        + (", estimated: the tokenizer is not there" if plan.text.estimated else ""),
        *([f"settings   {one_line(plan.told)}"] if plan.told else []),
        "",
        *_table(rows),
        "",
        f"compute    {_big(plan.positive_flops)}FLOP a pass, {'sparse' if plan.sparse else 'full'} self-attention",
        *([f"           (full would take {ratio:.2f} times as much)"] if plan.sparse else []),
        f"           {sampling.infer_steps} steps, {plan.passes[0]} + {plan.passes[1]} passes (prompt + negative): "
        f"{_big(plan.total_flops)}FLOP{',' if sampling.step_cache else ''}",
        *(["           less what the step cache spares"] if sampling.step_cache else []),
        *_time(plan),
        *_cards(plan),
        *([f"LoRA       {one_line(lora_words(plan.request.model))}"] if lora_words(plan.request.model) else []),
        f"memory     device, predicted: {_bytes(memory.peak)} at most (text encoder {_bytes(memory.text_encoder)};",
        f"           transformer {_bytes(memory.transformer_weights)} + {_bytes(memory.transformer_work)} of work; "
        f"VAE {_bytes(memory.vae)})" + (f" + CUDA {_bytes(cuda)}" if (cuda := cuda_bytes(request)) else ""),
        *(f"           {line}" for line in _streaming(plan.request.compute.blocks_to_swap)),
        *_budget(plan),
        f"           host, predicted: {_bytes(memory.host)} without the libraries and the page cache",
        *(f"warning    {one_line(warning)}" for warning in plan.warnings),
    ]
    return "\n".join(lines)


def _time(plan: Forecast) -> list[str]:
    """Seconds, where it is known how many operations the machine does in one."""
    if plan.rate is None:
        return []
    sampling = plan.request.sampling
    step = plan.total_flops / plan.rate.tflops / 1e12 / sampling.infer_steps
    whole = f"{duration(step * sampling.infer_steps)} in all{', at the most' if sampling.step_cache else ''}"
    line = f"time       denoising{', on one card' if plan.sharing else ''}, predicted: {duration(step)} a step, {whole}"
    return [line, f"           {plan.rate.source}"]


def _cards(plan: Forecast) -> list[str]:
    """How several cards share the video, and what they gain by it where their rate is known."""
    if plan.sharing is None:
        return []
    sharing, rate = plan.sharing, plan.rate
    lines = [
        f"cards      {sharing.cards} share it by {sharing.split.name}, each sends up to {_bytes(sharing.sent)} a step",
        f"           the busiest computes {sharing.busiest / sharing.split.passes:.1%} of it; memory below is of each",
    ]
    if rate is None:
        return lines
    step = plan.positive_flops + (plan.negative_flops if plan.request.guided else 0)
    for link in LINKS:
        times = sharing.speedup((step, max(plan.positive_flops, plan.negative_flops)), rate.tflops * 1e12, link)
        lines.append(f"           with {link}, predicted: {times:.2f} times as fast as one")
    return lines


def duration(seconds: float) -> str:
    """Seconds in the unit that people use for so long a time."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.3g} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"


def _budget(plan: Forecast) -> list[str]:
    budget = plan.request.compute.vram_budget
    if not budget:
        return []
    return [f"           fits `vram_budget` {budget:g}{f' by {plan.chosen}' if plan.chosen else ' as it is'}"]


def _streaming(streamed: int | str) -> list[str]:
    if not isinstance(streamed, int):
        return ["with every block of the transformer on the device;", "those that do not fit are streamed"]
    return [f"with {streamed} blocks of each transformer streamed" if streamed else "with no block streamed"]


def _row(plan: Forecast, index: int) -> tuple[str, ...]:
    shot = plan.shots[index]
    (first, stop), (latent, latent_stop) = shot.frames, shot.latents
    cut = "-" if not index else f"{'even' if shot.asked is None else shot.asked} > {first}"
    return (
        str(index + 1),
        f"{first}-{stop - 1}",
        f"{first / plan.request.fps:.1f}-{stop / plan.request.fps:.1f}",
        f"{latent}-{latent_stop - 1}",
        f"{shot.tokens:,}",
        cut,
        ", ".join(f"{a}-{b - 1}" for a, b in shot.keys) if not plan.text.estimated else "unknown",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _big(number: float) -> str:
    """A number with three digits and the prefix of its thousands."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} E"


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(number / 1e6, 0.1):.3g} MB"
