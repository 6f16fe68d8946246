"""What a run would do, before it does anything: the record behind `--dry_run`, and its text. Runs nothing.

Frames are shown as people count them, first to last; the record holds half-open ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holocine_ext.shots.flops import attention_pairs, count_passes, forward_flops, text_pairs
from holocine_ext.shots.layout import Range, ShotLayout
from holocine_ext.shots.spans import allowed_key_ranges, text_spans
from holocine_ext.story.scene import Scene
from wan2.models.config import TransformerConfig
from wan2.plan.budget import Work, predict
from wan2.plan.memory import Memory
from wan2.request.loras import told_loras
from wan2.request.request import Request
from wan2.sampling.schedule import timesteps
from wan2.shown import one_line
from wan2.text.tokenizer import TEXT_LENGTH, TokenizedPrompt

KeyRanges = tuple[tuple[Range, ...], ...]


@dataclass(frozen=True)
class ShotPlan:
    """One shot. Ranges are half-open; `asked` is None where the cut was left to be divided evenly."""

    caption: str
    frames: Range
    latents: Range
    tokens: int
    asked: int | None
    keys: tuple[Range, ...]
    """The text positions it sees; all of them when the text has no windows."""


@dataclass(frozen=True)
class Plan:
    """Everything a dry run reports. FLOPs are those of one pass, `total_flops` those of all; memory is in bytes."""

    height: int
    width: int
    fps: float
    layout: ShotLayout
    shots: tuple[ShotPlan, ...]
    sparse: bool
    num_tokens: int  # 0: not known, and then neither is what a shot sees
    steps: int
    passes: tuple[int, int]
    positive_flops: int
    negative_flops: int
    full_flops: int
    streamed: int | None
    """Blocks of each expert that are streamed; None where that depends on the memory of the device."""
    spares: bool
    """Whether a step cache may spare some of the passes."""
    memory: Memory
    budget: float
    chosen: str
    loras: str
    tflops: float | None
    warnings: tuple[str, ...] = ()

    @property
    def total_flops(self) -> int:
        """Operations of the transformer over the whole run."""
        return self.passes[0] * self.positive_flops + self.passes[1] * self.negative_flops


def make_plan(
    scene: Scene,
    layout: ShotLayout,
    tokenized: TokenizedPrompt,
    request: Request,
    work: Work,
    sparse: bool,
    warnings: Sequence[str] = (),
    chosen: str = "",
    tflops: float | None = None,
) -> Plan:
    """Plan a run.

    Args:
        scene: what is to be seen.
        layout: its shots, planned for the size in `request`.
        tokenized: the tokens of `scene.storyboard.prompt`.
        request: the request of the run.
        work: what decides its memory beside the request.
        sparse: whether self-attention is sparse between shots.
        warnings: lines to show with the plan.
        chosen: the request that were chosen to fit `--vram_budget`.
        tflops: what the machine does in a second, in 10^12 operations, if that is known.
    """
    streamed = request.compute.blocks_to_swap if isinstance(request.compute.blocks_to_swap, int) else None
    ranges = allowed_key_ranges(text_spans(tokenized), TEXT_LENGTH)
    config = work.config
    return Plan(
        height=request.height,
        width=request.width,
        fps=request.fps,
        layout=layout,
        shots=_plan_shots(scene, layout, ranges),
        sparse=sparse,
        num_tokens=tokenized.num_tokens,
        steps=request.sampling.infer_steps,
        passes=_passes(request),
        positive_flops=_flops(config, layout, sparse, ranges),
        negative_flops=_flops(config, layout, sparse, None),
        full_flops=_flops(config, layout, False, None),
        streamed=streamed,
        spares=bool(request.sampling.step_cache),
        memory=predict(request, work),
        budget=request.compute.vram_budget,
        chosen=chosen,
        loras=told_loras(request),
        tflops=tflops,
        warnings=tuple(warnings),
    )


def _passes(request: Request) -> tuple[int, int]:
    times = timesteps(request.sampling.infer_steps, request.sampling.flow_shift, request.sampling.sample_solver)
    scales = request.model.expert("high").guidance_scale, request.model.expert("low").guidance_scale
    return count_passes(times, request.model.dual_dit_boundary, *scales, request.sampling.cfg_skip)


def _flops(config: TransformerConfig, layout: ShotLayout, sparse: bool, ranges: KeyRanges | None) -> int:
    pairs = attention_pairs(layout, sparse), text_pairs(layout, ranges, TEXT_LENGTH)
    return forward_flops(config, *pairs, layout.tokens, TEXT_LENGTH)


def _plan_shots(scene: Scene, layout: ShotLayout, ranges: KeyRanges | None) -> tuple[ShotPlan, ...]:
    captions = scene.storyboard.shot_captions
    cuts = (None, *(scene.cuts or (None,) * len(layout.cuts)))
    keys = ranges or (((0, TEXT_LENGTH),),) * layout.num_shots
    rows = zip(captions, layout.frames, layout.latents, layout.shots, cuts, keys, strict=True)
    return tuple(
        ShotPlan(caption, frames, latents, b - a, asked, seen) for caption, frames, latents, (a, b), asked, seen in rows
    )


def render_plan(plan: Plan) -> str:
    """The plan as text for a terminal: lines of at most 80 characters, but for long names and warnings."""
    layout, memory = plan.layout, plan.memory
    rows: list[tuple[str, ...]] = [("shot", "frames", "seconds", "latents", "tokens", "asked > cut", "sees text")]
    rows += [_row(plan, number) for number in range(len(plan.shots))]
    ratio = plan.full_flops / plan.negative_flops
    lines = [
        f"video      {layout.num_frames} frames, {layout.num_frames / plan.fps:.1f} s at {plan.fps:g} fps, "
        f"{plan.width} wide x {plan.height} high",
        f"           {layout.latent_frames} latent frames of {layout.tokens_per_frame:,} tokens, "
        f"{layout.tokens:,} in all",
        f"text       {plan.num_tokens or 'unknown number'} of {TEXT_LENGTH} tokens",
        "",
        *_table(rows),
        "",
        f"compute    {_big(plan.positive_flops)}FLOP a pass, {'sparse' if plan.sparse else 'full'} self-attention",
        *([f"           (full would take {ratio:.2f} times as much)"] if plan.sparse else []),
        f"           {plan.steps} steps, {plan.passes[0]} + {plan.passes[1]} passes (prompt + negative): "
        f"{_big(plan.total_flops)}FLOP{',' if plan.spares else ''}",
        *(["           less what the step cache spares"] if plan.spares else []),
        *_time(plan),
        *([f"LoRA       {one_line(plan.loras)}"] if plan.loras else []),
        f"memory     device, predicted: {_bytes(memory.peak)} at most (text encoder {_bytes(memory.text_encoder)};",
        f"           transformer {_bytes(memory.transformer_weights)} + {_bytes(memory.transformer_work)} of work; "
        f"VAE {_bytes(memory.vae)})",
        *(f"           {line}" for line in _streaming(plan.streamed)),
        *_budget(plan),
        f"           host, predicted: {_bytes(memory.host)} without the libraries and the page cache",
        *(f"warning    {one_line(warning)}" for warning in plan.warnings),
    ]
    return "\n".join(lines)


def _time(plan: Plan) -> list[str]:
    """Seconds, where it is known how many operations the machine does in one."""
    if plan.tflops is None:
        return []
    step = plan.total_flops / plan.tflops / 1e12 / plan.steps
    whole = f"{step * plan.steps:.3g} s{', at the most' if plan.spares else ''}"
    return [f"time       denoising, at {plan.tflops:g} TFLOP/s: {step:.3g} s a step, {whole} in all"]


def _budget(plan: Plan) -> list[str]:
    if not plan.budget:
        return []
    return [f"           fits --vram_budget {plan.budget:g}{f' by {plan.chosen}' if plan.chosen else ' as it is'}"]


def _streaming(streamed: int | None) -> list[str]:
    if streamed is None:
        return ["with every block of the transformer on the device;", "those that do not fit are streamed"]
    return [f"with {streamed} blocks of each transformer streamed" if streamed else "with no block streamed"]


def _row(plan: Plan, index: int) -> tuple[str, ...]:
    shot = plan.shots[index]
    (first, stop), (latent, latent_stop) = shot.frames, shot.latents
    cut = "-" if not index else f"{'even' if shot.asked is None else shot.asked} > {first}"
    return (
        str(index + 1),
        f"{first}-{stop - 1}",
        f"{first / plan.fps:.1f}-{stop / plan.fps:.1f}",
        f"{latent}-{latent_stop - 1}",
        f"{shot.tokens:,}",
        cut,
        ", ".join(f"{a}-{b - 1}" for a, b in shot.keys) if plan.num_tokens else "unknown",
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
