"""The table of command line arguments. Knows nothing of what they lead to, and prints nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from wan2.errors import InputError
from wan2.options import CHOICES
from wan2.presets import WAN22_T2V, ModelFiles, Preset


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
        type=Path,
        metavar="FILE",
        help="one prompt a line, each with its own settings if wanted: A cat on a roof --d 42 --w 832 --h 480 --f 81 "
        "--s 40 --g 3 --gh 4 --fs 12 --n blurry",
    )
    add_common_arguments(parser, scene, [WAN22_T2V])
    return parser


def add_common_arguments(parser: Parser, scene: argparse._ArgumentGroup, presets: Sequence[Preset]) -> None:
    """Every argument that the base shares with an extension. All default to None: the preset fills them in later."""
    shown = _Defaults(presets)
    scene.add_argument("--latent_path", type=Path, metavar="FILE", help="decode latents saved by an earlier run")
    scene.add_argument("--negative_prompt", metavar="TEXT", help="what to avoid (default: the one Wan2.2 publishes)")

    files = parser.add_argument_group("model files")
    for flag, what in (
        ("dit_high_noise", "transformer of the noisy steps"),
        ("dit_low_noise", "transformer of the later steps"),
        ("vae", "Wan2.1 VAE"),
        ("t5", "UMT5 text encoder"),
        ("tokenizer", "folder with tokenizer.json"),
    ):
        files.add_argument(f"--{flag}", type=Path, metavar="PATH", help=f"{what} {shown(flag)}")

    size = parser.add_argument_group("the video")
    size.add_argument(
        "--video_size", type=_whole, nargs=2, metavar=("H", "W"),
        help=f"height and width in pixels, multiples of 16 {shown('height', 'width')}",
    )  # fmt: skip
    size.add_argument(
        "--video_length", type=_whole, metavar="N",
        help=f"frames, snapped to the nearest 4t+1 {shown('num_frames')}",
    )  # fmt: skip
    size.add_argument("--fps", type=_number, metavar="N", help=f"frames per second {shown('fps')}")

    sampling = parser.add_argument_group("sampling")
    for flag, kind, what in (
        ("infer_steps", _whole, "denoising steps"),
        ("flow_shift", _number, "shift of the noise schedule"),
        ("guidance_scale", _number, "guidance of the low-noise expert, of both when given alone; 1 is off"),
        ("guidance_scale_high_noise", _number, "guidance of the high-noise expert"),
        ("dual_dit_boundary", _number, "noise level (0 to 1) below which the low-noise expert takes over"),
    ):
        sampling.add_argument(f"--{flag}", type=kind, metavar="N", help=f"{what} {shown(flag)}")
    sampling.add_argument(
        "--sample_solver", choices=CHOICES["sample_solver"], help=f"how a step is taken {shown('sample_solver')}"
    )
    sampling.add_argument("--seed", type=_whole, metavar="N", help="same seed, same video (default: random, recorded)")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", metavar="NAME", help=f"auto, cpu, cuda, cuda:1, mps {shown('device')}")
    machine.add_argument(
        "--dtype", choices=CHOICES["dtype"],
        help=f"compute type; auto is bfloat16 on an accelerator, float32 on a CPU {shown('dtype')}",
    )  # fmt: skip
    machine.add_argument(
        "--attn_mode", choices=CHOICES["attn_mode"], help=f"attention kernel {shown('attn_mode')}"
    )

    output = parser.add_argument_group("output")
    output.add_argument(
        "--output_type", choices=CHOICES["output_type"], help=f"what to write; both is video and latent {shown('output_type')}"
    )
    output.add_argument("--save_path", type=Path, metavar="PATH", help=f"a folder, or the file itself {shown('save_path')}")
    output.add_argument("--preview", type=_whole, metavar="N", help=f"a picture of the latents every N steps, 0 for none {shown('preview')}")
    output.add_argument(
        "--no_metadata", action="store_const", const=True, help="write no JSON record, and none into the video"
    )


class _Defaults:
    """The `(default: ...)` of a help line, read from the presets: one value, or one for each preset that differs."""

    def __init__(self, presets: Sequence[Preset]) -> None:
        self._presets = presets

    def __call__(self, *names: str) -> str:
        values = {preset.name: " ".join(self._value(preset, name) for name in names) for preset in self._presets}
        if len(set(values.values())) == 1:
            return f"(default: {next(iter(values.values()))})"
        return f"(default: {', '.join(f'{value} with {name}' for name, value in values.items())})"

    @staticmethod
    def _value(preset: Preset, name: str) -> str:
        in_files = name in {field.name for field in fields(ModelFiles)}
        value = getattr(preset.files if in_files else preset, name)
        return (f"{value:g}" if isinstance(value, float) else str(value)).replace("%", "%%")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
