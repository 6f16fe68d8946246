"""Everything that is asked of one run, in frozen records that are checked once. Knows nothing of the command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from wan2.errors import InputError
from wan2.request.cards import Cards
from wan2.request.compute import Compute
from wan2.request.fields import Number, Pixels, Setting, Words, check_settings, setting
from wan2.request.model import Model
from wan2.request.output import Output
from wan2.request.sampling import Sampling
from wan2.shapes import SIZE_MULTIPLE, VideoShape, snap_frames

# The negative prompt that Wan2.2 publishes; the trained weights expect this very text.
NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，"
    "静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One run. Sizes in pixels, lengths in frames, `fps` in frames per second; `num_frames` is the length asked for.

    Raises:
        InputError: a value breaks its rule; with the field, the value and the rule.
    """

    model: Model
    sampling: Sampling
    compute: Compute = Compute()
    cards: Cards = Cards()
    output: Output = Output()
    prompt: str = setting(Setting("what is to be seen", Words(), decides=True), "")
    negative_prompt: str = setting(
        Setting("what to avoid (default: the one Wan2.2 publishes)", Words(), decides=True), NEGATIVE_PROMPT
    )
    height: int = setting(Setting("", Pixels("height", SIZE_MULTIPLE), decides=True))
    width: int = setting(Setting("", Pixels("width", SIZE_MULTIPLE), decides=True))
    num_frames: int = setting(Setting("", Number(1, 10_000, whole=True), decides=True))
    fps: float = setting(
        Setting(
            "frames per second, also a fraction, 30000/1001; 23.976, 29.97 and 59.94 are the NTSC rates, N*1000/1001",
            Number(0.1, 240),
            decoding=True,
        )
    )
    seed: int = setting(
        Setting(
            "same seed, same video (default: random, recorded)",
            Number(0, 2**63 - 1, whole=True),
            decides=True,
            common=True,
        )
    )
    latent_path: Path | None = setting(
        Setting("decode latents saved by an earlier run", decides=True, decoding=True, common=True), None
    )
    resume: Path | None = setting(Setting("go on from a saved state", common=True), None)

    def __post_init__(self) -> None:
        check_settings(self)
        compute, output = self.compute, self.output
        if self.sampling.cfg_skip and not self.guided:
            rule = "with `guidance_scale` 1 there is no negative pass to skip"
            raise InputError(rule, field="cfg_skip", value=self.sampling.cfg_skip)
        if compute.passes_apart and not self.guided:
            raise InputError("with `guidance_scale` 1 there is one pass only", field="passes_apart")
        if self.cards.gpus > 1 and (compute.device == "mps" or ":" in compute.device):
            rule = "is one card; several are cuda or auto, the first ones of the machine, or processes of a cpu"
            raise InputError(rule, field="device", value=compute.device)
        for name in ("vae_cache_cpu", "tile_height", "tile_width"):
            if getattr(compute, name) and not output.decodes:
                raise InputError(f"with `output_type` {output.output_type} nothing is decoded", field=name)
        if not self.prompt.strip() and self.latent_path is None:
            raise InputError("must not be empty", field="prompt", value="''")
        if self.latent_path is not None and output.asks_for_latents:
            rule = "`latent_path` only decodes, to video or images"
            raise InputError(rule, field="output_type", value=output.output_type)

    @property
    def shape(self) -> VideoShape:
        """Size of the video that is made: the length snaps to the latent grid."""
        return VideoShape(snap_frames(self.num_frames), self.height, self.width)

    @property
    def keeps_latents(self) -> bool:
        """Whether the run leaves its latents as a file."""
        return self.latent_path is None and not self.output.no_latents

    @property
    def guided(self) -> bool:
        """Whether any pass is guided; at scale 1 the negative prompt is not run."""
        return self.model.guided

    def computing(self, **changes: object) -> Request:
        """The same request with some fields of `compute` changed."""
        return replace(self, compute=replace(self.compute, **changes))  # type: ignore[arg-type]

    def putting(self, **changes: object) -> Request:
        """The same request with some fields of `output` changed."""
        return replace(self, output=replace(self.output, **changes))  # type: ignore[arg-type]
