"""The table of command line arguments. Knows nothing of what they lead to, and prints nothing."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from wan2.errors import InputError
from wan2.request.fields import CHOICES, exact_rate
from wan2.request.paths import path_of
from wan2.request.presets import LORA_MULTIPLIER, WAN22_T2V, ModelFiles, Preset
from wan2.request.request import AUTO, BESIDE, RECIPES

FILES = {
    "dit_high_noise": "transformer of the noisy steps",
    "dit_low_noise": "transformer of the later steps",
    "vae": "Wan2.1 VAE",
    "t5": "UMT5 text encoder",
    "tokenizer": "folder with tokenizer.json",
}
LORA_FLAGS = {
    "lora_weight": "LoRA files to merge into the low-noise expert, and into it alone",
    "lora_weight_high_noise": "LoRA files to merge into the high-noise expert, and into it alone",
}
FRACTION = re.compile(r"\s*(\d{1,12})\s*/\s*(\d{1,12})\s*")
FP8_FLAGS = {
    "fp8_scaled": "hold the linears of the transformers in fp8, a scale a row: half the memory, almost the same video",
    "fp8_fast": "--fp8_scaled, and multiply in fp8, too: faster on GPUs that can (Ada, Hopper and later)",
    "fp8_cache": "write the fp8 weights beside each transformer, and read them there the next time",
    "fp8_t5": "hold the linears of the text encoder in fp8",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are input errors like any other: one line, no usage text."""

    def error(self, message: str) -> NoReturn:
        """Raise `InputError` where argparse would print and exit."""
        raise InputError(message.removeprefix("argument "))


def build_parser(program: str) -> Parser:
    """The base's arguments."""
    parser = Parser(prog=program, allow_abbrev=False, description="Make a video from a text with Wan2.2 T2V-A14B.")
    scene = parser.add_argument_group("what to make (exactly one of --prompt, --from_file, --latent_path)")
    scene.add_argument("--prompt", metavar="TEXT", help="what is to be seen")
    scene.add_argument(
        "--from_file",
        type=path,
        metavar="FILE",
        help="one prompt a line, each with its own settings if wanted: A cat on a roof --d 42 --w 832 --h 480 --f 81 "
        "--s 40 --g 3 --gh 4 --fs 12 --n blurry",
    )
    add_common_arguments(parser, scene, [WAN22_T2V])
    return parser


def add_common_arguments(parser: Parser, scene: argparse._ArgumentGroup, presets: Sequence[Preset]) -> None:
    """Every argument that the base shares with an extension. All default to None: the preset fills them in later."""
    scene.add_argument("--latent_path", type=path, metavar="FILE", help="decode latents saved by an earlier run")
    scene.add_argument("--negative_prompt", metavar="TEXT", help="what to avoid (default: the one Wan2.2 publishes)")

    def add(group: argparse._ArgumentGroup, name: str, what: str, **settings: Any) -> None:  # noqa: ANN401
        group.add_argument(f"--{name}", help=f"{what} {defaults(presets, name)}", **settings)

    files = parser.add_argument_group("model files")
    for name, what in FILES.items():
        add(files, name, what, type=path, metavar="PATH")
    for name, what in LORA_FLAGS.items():
        files.add_argument(f"--{name}", help=what, type=path, nargs="+", metavar="PATH")
        what = f"how much of each, or one number for all of them (default: {LORA_MULTIPLIER:g})"
        multiplier = f"--{name.replace('weight', 'multiplier')}"
        files.add_argument(multiplier, help=what, type=number, nargs="+", metavar="N")

    size = parser.add_argument_group("the video")
    what = f"height and width in pixels, multiples of 16 {defaults(presets, 'height', 'width')}"
    size.add_argument("--video_size", help=what, type=whole_number, nargs=2, metavar=("H", "W"))
    what = f"frames, snapped to the nearest 4t+1 {defaults(presets, 'num_frames')}"
    size.add_argument("--video_length", help=what, type=whole_number, metavar="N")
    what = "frames per second, also as a fraction, 30000/1001; 23.976, 29.97 and 59.94 are the NTSC rates, N*1000/1001"
    add(size, "fps", what, type=frame_rate, metavar="N")

    sampling = parser.add_argument_group("sampling")
    what = (
        "fill in what is not given: quality, as the weights were published; draft, a third of the passes, to see what "
        "a scene will be; lightning, for experts (or LoRAs) distilled to 8 steps (default: quality)"
    )
    sampling.add_argument("--preset", help=what, choices=RECIPES)
    add(sampling, "infer_steps", "denoising steps", type=whole_number, metavar="N")
    add(sampling, "sample_solver", "how a step is taken", choices=CHOICES["sample_solver"])
    for name, what in (
        ("flow_shift", "shift of the noise schedule"),
        ("guidance_scale", "guidance of the low-noise expert, of both when given alone; 1 is off"),
        ("guidance_scale_high_noise", "guidance of the high-noise expert"),
        ("dual_dit_boundary", "noise level (0 to 1) below which the low-noise expert takes over"),
        ("cfg_skip", "share of the steps (0 to 1), at the end, that go without the negative pass"),
        ("step_cache", "spare a step when its velocity would change by less than this share (0 to 1); 0 is off"),
    ):
        add(sampling, name, what, type=number, metavar="N")
    sampling.add_argument(
        "--seed", type=whole_number, metavar="N", help="same seed, same video (default: random, recorded)"
    )

    machine = parser.add_argument_group("machine")
    add(machine, "device", "auto, cpu, cuda, cuda:1 or mps", metavar="NAME")
    what = "compute type; auto is bfloat16 on an accelerator, float32 on a processor"
    add(machine, "dtype", what, choices=CHOICES["dtype"])
    what = "attention kernel; auto is the fastest that is there and computes the same"
    add(machine, "attn_mode", what, choices=CHOICES["attn_mode"])
    what = "compile the work between the attentions: slower to begin, faster after"
    machine.add_argument("--compile", action="store_const", const=True, help=what)
    what = "transformer blocks to keep off the device until they run, 0 to 40; auto is as many as do not fit"
    add(machine, "blocks_to_swap", what, type=whole_number_or_auto, metavar="N")
    what = "device memory in GB that the run may take: chooses what is not given so that it fits, 0 is no limit"
    add(machine, "vram_budget", what, type=number, metavar="GB")
    what = "where those blocks wait: disk needs no memory, ram reads the file only once"
    add(machine, "weights_from", what, choices=CHOICES["weights_from"])
    what = "read streamed blocks for each of the two passes anew: a token tensor less memory, twice the reading"
    machine.add_argument("--passes_apart", action="store_const", const=True, help=what)
    what = "decode in tiles of so many pixels, which share half with their neighbours; 0 is the whole side"
    what = f"{what} {defaults(presets, 'tile_height', 'tile_width')}"
    machine.add_argument("--vae_tiling", help=what, type=whole_number, nargs=2, metavar=("H", "W"))
    what = "what the VAE remembers of the frames before waits in host memory: half its memory, some of its speed"
    machine.add_argument("--vae_cache_cpu", action="store_const", const=True, help=what)
    for name, what in FP8_FLAGS.items():
        machine.add_argument(f"--{name}", action="store_const", const=True, help=what)

    output = parser.add_argument_group("output")
    add(output, "output_type", "what to write; both is video and latent", choices=CHOICES["output_type"])
    add(output, "save_path", "a folder, or the file itself", type=path, metavar="PATH")
    what = "save the state of the run every N steps, 0 for once a minute"
    add(output, "save_every", what, type=whole_number, metavar="N")
    what = (
        "go on from a saved state: STATE, beside which nothing else need be said, or the one beside --save_path; "
        "what changes no latents may be said anew"
    )
    output.add_argument("--resume", help=what, type=path, nargs="?", const=BESIDE, metavar="STATE")
    what = "begin anew, and replace what an earlier run of this program finished under the same name"
    output.add_argument("--overwrite", action="store_const", const=True, help=what)
    add(output, "preview", "a picture of the latents every N steps, 0 for none", type=whole_number, metavar="N")
    what = "write no JSON record, and none into the video"
    output.add_argument("--no_metadata", action="store_const", const=True, help=what)


def defaults(presets: Sequence[Preset], *names: str) -> str:
    """The `(default: ...)` of a help line, read from the presets: one value, or one for each preset that differs."""
    values = {preset.name: " ".join(_shown(preset, name) for name in names) for preset in presets}
    if len(set(values.values())) == 1:
        return f"(default: {next(iter(values.values()))})"
    return f"(default: {', '.join(f'{value} with {name}' for name, value in values.items())})"


def _shown(preset: Preset, name: str) -> str:
    in_files = name in {field.name for field in fields(ModelFiles)}
    value = getattr(preset.files if in_files else preset, name)
    if isinstance(value, Path) and value.is_relative_to(Path.cwd()):
        value = value.relative_to(Path.cwd())
    return (f"{value:g}" if isinstance(value, float) else str(value)).replace("%", "%%")


def path(text: str) -> Path:
    """A path, for argparse; `~` is the home folder of the user, `~name` that of another."""
    try:
        return path_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole_number(text: str) -> int:
    """A whole number, for argparse."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error


def whole_number_or_auto(text: str) -> int | str:
    """A whole number or the word auto, for argparse."""
    if text == AUTO:
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor auto") from error


def frame_rate(text: str) -> float:
    """Frames per second, for argparse: a number or a fraction of whole numbers, made exact."""
    if not (fraction := FRACTION.fullmatch(text)):
        return exact_rate(number(text))
    above, below = int(fraction[1]), int(fraction[2])
    if not below:
        raise argparse.ArgumentTypeError(f"{text!r} is divided by 0")
    return exact_rate(above / below)


def number(text: str) -> float:
    """A number, for argparse."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
