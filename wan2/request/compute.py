"""Where and how a run computes: device, precision, offloading, tiles. Which device there is, is seen later."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wan2.errors import InputError
from wan2.models.config import A14B
from wan2.models.forms import FP8, INT8
from wan2.models.kernel_table import AUTO, KERNELS, check_kernel
from wan2.request.fields import CountOrAuto, Number, OneOf, Pixels, Setting, check_settings, setting

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


@dataclass(frozen=True)
class Kernels:
    """By which code layers are computed."""

    attn_mode: str = setting(
        Setting(
            "attention kernel; auto is the fastest installed one that computes the same",
            OneOf((AUTO, *KERNELS)),
            decides=True,
        ),
        AUTO,
    )
    compile: bool = setting(
        Setting("compile the layers between the attentions: slower to begin, faster after", decides=True), False
    )
    fused: str = setting(
        Setting(
            "auto fuses what lies between the attentions into few kernels, on a GPU with Triton; off never",
            OneOf((AUTO, "off")),
            decides=True,
        ),
        AUTO,
    )
    int8_fast: bool = setting(
        Setting("multiply transformers that are int8 in their files in int8: faster on GPUs before Ada", decides=True),
        False,
    )


@dataclass(frozen=True)
class Compute(Kernels):
    """Where and how a run computes. Of `vram_budget` and the streaming that follows from it no latent depends."""

    device: str = setting(Setting("auto, cpu, cuda, cuda:1 or mps", decides=True, decoding=True, common=True), AUTO)
    dtype: str = setting(
        Setting(
            "compute type; auto is bfloat16 on an accelerator, float32 on a processor",
            OneOf((AUTO, "bfloat16", "float16", "float32")),
            decides=True,
            decoding=True,
        ),
        AUTO,
    )
    fp8_scaled: bool = setting(
        Setting(
            "hold the transformers' linear layers in fp8, one scale a row: half the memory, almost the same video",
            decides=True,
            common=True,
        ),
        False,
    )
    fp8_fast: bool = setting(
        Setting("--fp8_scaled, and multiply in fp8, too: faster on Ada, Hopper and later GPUs", decides=True), False
    )
    fp8_cache: bool = setting(
        Setting("write the fp8 weights next to each transformer, and read them there the next time"), False
    )
    fp8_t5: bool = setting(Setting("hold the text encoder's linear layers in fp8", decides=True), False)
    blocks_to_swap: int | str = setting(
        Setting(
            "transformer blocks that are offloaded and streamed in when they run, 0 to 40; auto is as few as fit",
            CountOrAuto(A14B.num_layers),
        ),
        AUTO,
    )
    passes_apart: bool = setting(
        Setting("read streamed blocks once for each of the two passes: less memory, twice the reading"), False
    )
    weights_from: str = setting(
        Setting(
            "where streamed blocks are kept: disk needs no memory, ram reads the file once", OneOf(("disk", "ram"))
        ),
        "disk",
    )
    vram_budget: float = setting(
        Setting(
            "device memory in GB that the run may use: what is not given is chosen so that it fits; 0 is no limit",
            Number(0, 10_000),
            decoding=True,
            common=True,
        ),
        0.0,
    )
    tile_height: int = setting(
        Setting(
            "decode in tiles of this size; neighbours share half; 0 is the whole side",
            Pixels("height", 0),
            decoding=True,
        ),
        0,
    )
    tile_width: int = setting(Setting("", Pixels("width", 0), decoding=True), 0)
    vae_cache_cpu: bool = setting(
        Setting("keep the VAE's temporal cache in host memory: half the VAE's memory, slower decoding", decoding=True),
        False,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not DEVICE.fullmatch(self.device):
            rule = "must be auto, cpu, mps, cuda or one card such as cuda:1"
            raise InputError(rule, field="device", value=self.device or "''")
        if self.fp8_cache and not self.quantises:
            raise InputError("keeps what `fp8_scaled` or `fp8_fast` makes; give one of them", field="fp8_cache")
        self.check_device(self.device.partition(":")[0])

    @property
    def quantises(self) -> bool:
        """Whether linears of the transformers that are not in fp8 are brought to it."""
        return self.fp8_scaled or self.fp8_fast

    @property
    def fast(self) -> frozenset[str]:
        """The forms of held weights of which products are computed as they are held."""
        return frozenset(form for form, chosen in ((FP8, self.fp8_fast), (INT8, self.int8_fast)) if chosen)

    def check_device(self, device: str) -> None:
        """Refuse what cannot be on a device, or helps nobody there. device: cpu, cuda or mps, or auto.

        Raises:
            InputError: with the combination that is refused.
        """
        check_kernel(self.attn_mode, device)
        if self.compile and device == "mps":
            raise InputError("compiles for `device` cuda or cpu, not mps", field="compile")
        self._check_streaming(device)
        self._check_fp8(device)
        if self.vae_cache_cpu and device == "cpu":
            raise InputError("on `device` cpu the cache is in host memory without it", field="vae_cache_cpu")

    def _check_streaming(self, device: str) -> None:
        blocks, ram = self.blocks_to_swap, self.weights_from == "ram"
        if ram and blocks == 0:
            raise InputError("with `blocks_to_swap` 0 no block waits anywhere", field="weights_from", value="ram")
        if ram and device in ("cpu", "mps"):
            rule = f"on `device` {device} the weights are in memory without it; use disk"
            raise InputError(rule, field="weights_from", value="ram")
        if blocks not in (AUTO, 0) and device == "mps":
            raise InputError("streams to `device` cuda or cpu, not mps", field="blocks_to_swap", value=blocks)
        if self.passes_apart and (blocks == 0 or device == "mps"):
            rule = "is for streamed blocks; where none are, passes run apart without it"
            raise InputError(rule, field="passes_apart")

    def _check_fp8(self, device: str) -> None:
        if device == "mps" and (self.quantises or self.fp8_t5):
            flag = next(name for name in ("fp8_scaled", "fp8_fast", "fp8_t5") if getattr(self, name))
            raise InputError("needs a cuda device or a processor; `device` mps has no fp8", field=flag)
        if device == "mps" and self.int8_fast:
            raise InputError("needs a cuda device or a processor; `device` mps has no int8 product", field="int8_fast")
        wide = ("float32", "float16") if device == "cuda" else ("float16",)
        if self.fp8_fast and self.dtype in wide:
            raise InputError(f"multiplies fp8 into bfloat16, not into `dtype` {self.dtype}", field="fp8_fast")
