"""The command line's arguments, most of them from the settings' own table. Prints nothing."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from wan2 import __version__
from wan2.cli.synonyms import SYNONYMS
from wan2.cli.values import frame_rate, number, shard, whole_number
from wan2.errors import InputError
from wan2.models.kernel_table import AUTO
from wan2.plan.resume import BESIDE
from wan2.request.cards import Cards
from wan2.request.compute import Compute
from wan2.request.fields import CountOrAuto, OneOf, Setting, settings_of
from wan2.request.flat import preset_values
from wan2.request.model import EXPERT_FLAG, Model
from wan2.request.output import Output
from wan2.request.paths import path_of
from wan2.request.presets import BASE, LORA_MULTIPLIER, RECIPES, Preset
from wan2.request.request import Request
from wan2.request.sampling import Sampling

# How many scenes of a list go through the stages together.
WAVE = 10
# How alike two flags must be for one to be a slip of the fingers: a letter or two.
NEAR = 0.75


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are input errors like any other: one line, no usage text."""

    def error(self, message: str) -> NoReturn:
        """Raise `InputError` where argparse would print and exit."""
        said = message.removeprefix("argument ")
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", said)
        near = self._near(unknown[1]) if unknown else None
        raise InputError(f"{said}; did you mean {near}?" if near else said)

    def _near(self, flag: str) -> str | None:
        """The flag that is meant by one that is unknown, if that can be told."""
        known, spelled = self._option_string_actions, "--" + flag[2:].lower().replace("-", "_")
        meant = SYNONYMS.get(spelled, spelled)
        return meant if meant in known else next(iter(difflib.get_close_matches(spelled, known, 1, NEAR)), None)

    def names(self) -> frozenset[str]:
        """Every flag, without its dashes."""
        return frozenset(name.removeprefix("--") for name in self._option_string_actions if name.startswith("--"))


class _HelpAll(argparse.Action):
    """Prints the help of every flag."""

    def __init__(self, build: Callable[[], Parser], **settings: Any) -> None:  # noqa: ANN401
        super().__init__(nargs=0, **settings)
        self.build = build

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        self.build().print_help()
        parser.exit()


@dataclass
class Table:
    """The arguments as they are added.

    Args:
        parser: where to.
        presets: whose defaults are shown.
        full: whether flags that few people need have a line of help, too.
        instead: lines of help that an extension has in the place of the base's, by setting.
    """

    parser: Parser
    presets: Sequence[Preset]
    full: bool
    instead: Mapping[str, str] = field(default_factory=dict)
    groups: dict[str, argparse._ArgumentGroup] = field(default_factory=dict)

    def group(self, title: str) -> argparse._ArgumentGroup:
        """The group of that title, begun when it is first asked for."""
        if title not in self.groups:
            self.groups[title] = self.parser.add_argument_group(title)
        return self.groups[title]

    def add(self, title: str, name: str, what: str, *, common: bool = False, **settings: Any) -> None:  # noqa: ANN401
        """One flag; without a line of help where that is for the full help only."""
        shown = what if common or self.full else argparse.SUPPRESS
        self.group(title).add_argument(f"--{name}", help=shown, **settings)

    def add_record(self, title: str, record: type, without: Sequence[str] = ()) -> None:
        """A flag for every setting of a record."""
        kinds = get_type_hints(record)
        for name, about in settings_of(record):
            if name not in without:
                self.add_setting(title, name, about, kinds[name])

    def add_setting(self, title: str, name: str, about: Setting, kind: Any) -> None:  # noqa: ANN401
        """A flag for one setting, its type and choices from the table."""
        if kind is bool:
            self.add(title, name, about.help, common=about.common, action="store_const", const=True)
            return
        line = self.instead.get(name, about.help)
        what = line if "(default:" in line else f"{line} {self.defaults(name)}"
        how: dict[str, Any] = {"type": TYPES.get(kind, str), "metavar": METAVARS.get(kind, "TEXT")}
        if isinstance(about.rule, OneOf):
            how = {"choices": about.rule.choices}
        elif isinstance(about.rule, CountOrAuto):
            how = {"type": whole_number_or_auto, "metavar": "N"}
        self.add(title, name, what, common=about.common, **how)

    def defaults(self, *names: str) -> str:
        """The `(default: ...)` of a help line: one value, or one for each preset that differs."""
        values = {preset.name: " ".join(_shown(preset, name) for name in names) for preset in self.presets}
        if len(set(values.values())) == 1:
            return f"(default: {next(iter(values.values()))})"
        return f"(default: {', '.join(f'{value} with {name}' for name, value in values.items())})"


def build_parser(program: str, preset: Preset, full: bool = False) -> Parser:
    """The base's arguments."""
    parser = Parser(
        prog=program,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a video from a text with Wan2.2 T2V-A14B.\n\nexample:\n"
        f'  {program} --prompt "A lighthouse in a storm" --save_path out.mp4',
    )
    table = Table(parser, [preset], full)
    scene = "what to make (exactly one of --prompt, --from_file, --latent_path)"
    table.add(scene, "prompt", "what is to be seen", common=True, metavar="TEXT")
    what = (
        "one prompt a line, each with its own settings if wanted: A cat on a roof --d 42 --w 832 --h 480 --f 81 "
        "--s 40 --g 3 --gh 4 --fs 12 --n blurry"
    )
    table.add(scene, "from_file", what, common=True, type=path, metavar="FILE")
    what = "begin from an earlier run, by its video, record or latents; what is given beside it wins"
    table.add(scene, "take", what, common=True, type=path, metavar="FILE")
    what = "how much is made anew of --video_path, or of --take, from 0 to 1; its pictures shape the new ones"
    table.add(scene, "strength", what, common=True, type=number, metavar="S")
    add_common_arguments(table, scene, partial(build_parser, program, preset, full=True), (BASE,))
    return parser


def add_common_arguments(table: Table, scene: str, full_parser: Callable[[], Parser], downloads: Sequence[str]) -> None:
    """Every argument that the base shares with an extension. All default to None: the preset fills them in later.

    downloads: what can be fetched.
    """
    kinds, settings = get_type_hints(Request), dict(settings_of(Request))
    table.add_setting(scene, "latent_path", Setting(f"{settings['latent_path'].help} (default: none)"), Path)
    what = "begin from a video, brought to size and rate, with --strength (default: none)"
    table.add(scene, "video_path", what, common=True, type=path, metavar="FILE")
    table.add_setting(scene, "negative_prompt", settings["negative_prompt"], str)
    _add_size(table, settings, kinds)
    _add_several(table)
    _add_sampling(table)
    table.add_record("output", Output, without=["crf"])
    what = (
        "go on from a saved state: STATE, with which nothing else needs to be given, or the one next to --save_path; "
        "what changes no latents may be given anew"
    )
    table.add("output", "resume", what, common=True, type=path, nargs="?", const=BESIDE, metavar="STATE")
    _add_machine(table)
    _add_files(table, downloads)
    _add_general(table, full_parser)


def _add_size(table: Table, settings: dict[str, Setting], kinds: dict[str, Any]) -> None:
    what = f"height and width in pixels, multiples of 16 {table.defaults('height', 'width')}"
    numbers = {"type": whole_number, "nargs": 2, "metavar": ("H", "W")}
    table.add("the video", "video_size", what, common=True, **numbers)
    what = f"frames, snapped to the nearest 4t+1 {table.defaults('num_frames')}"
    table.add("the video", "video_length", what, common=True, type=whole_number, metavar="N")
    what = f"{settings['fps'].help} {table.defaults('fps')}"
    table.add("the video", "fps", what, type=frame_rate, metavar="N")
    table.add_setting("the video", "seed", settings["seed"], kinds["seed"])


def _add_several(table: Table) -> None:
    what = "make the video once for each of these seeds, and a sheet that shows the results side by side"
    table.add("several videos", "seeds", what, common=True, type=whole_number, nargs="+", metavar="N")
    what = "the same for N seeds, from --seed on (default: from a random one on)"
    table.add("several videos", "num_seeds", what, common=True, type=whole_number, metavar="N")
    what = f"how many videos go through the stages together, so that models are loaded once (default: {WAVE})"
    table.add("several videos", "wave", what, type=whole_number, metavar="N")
    what = "make every N-th line of the list, from line I on: one of N jobs that make the list together"
    table.add("several videos", "shard", what, type=shard, metavar="I/N")
    what = "make the list on a cluster of Ray, --gpus cards a line: its address, or auto for the one of this machine"
    table.add("several videos", "cluster", what, metavar="ADDRESS")


def _add_sampling(table: Table) -> None:
    what = (
        "fill in what is not given: quality, as the weights were published; draft, a third of the passes, to see what "
        "a scene will be; lightning, for experts (or LoRAs) distilled to 8 steps (default: quality)"
    )
    table.add("sampling", "preset", what, common=True, choices=RECIPES)
    table.add_record("sampling", Sampling, without=["hold_noise"])  # for who can hold something
    for name, what in (
        ("guidance_scale", "guidance of the low-noise expert, of both when given alone; 1 is off"),
        ("guidance_scale_high_noise", "guidance of the high-noise expert"),
    ):
        common = name == "guidance_scale"
        table.add("sampling", name, f"{what} {table.defaults(name)}", common=common, type=number, metavar="N")
    about = dict(settings_of(Model))["dual_dit_boundary"]
    table.add_setting("sampling", "dual_dit_boundary", about, float)


def _add_machine(table: Table) -> None:
    table.add_record("machine", Compute, without=["tile_height", "tile_width"])
    about = dict(settings_of(Compute))["tile_height"]
    what = f"{about.help} {table.defaults('tile_height', 'tile_width')}"
    table.add("machine", "vae_tiling", what, type=whole_number, nargs=2, metavar=("H", "W"))
    table.add_record("machine", Cards)


def _add_files(table: Table, downloads: Sequence[str]) -> None:
    helps = {
        EXPERT_FLAG["high"]: "transformer of the noisy steps",
        EXPERT_FLAG["low"]: "transformer of the later steps",
    }
    helps |= {name: about.help for name, about in settings_of(Model) if name in ("vae", "t5", "tokenizer")}
    for name, what in helps.items():
        table.add("model files", name, f"{what} {table.defaults(name)}", type=path, metavar="PATH")
    what = "fetch the published files that are missing, then stop; those of Wan2.2 by itself are called base"
    table.add("model files", "download", what, common=True, choices=downloads)
    what = "find those files that are not named in this folder, by what they are, and say which (default: none)"
    table.add("model files", "models_dir", what, common=True, type=path, metavar="FOLDER")
    what = "say what each of these files is, and whether and as what it runs; make nothing"
    table.add("model files", "inspect", what, common=True, type=path, nargs="+", metavar="FILE")
    for noise, suffix in (("low", ""), ("high", "_high_noise")):
        what = f"LoRA files to merge into the {noise}-noise expert, and into it alone"
        how: dict[str, Any] = {"nargs": "+", "common": not suffix}
        table.add("model files", f"lora_weight{suffix}", what, type=path, metavar="PATH", **how)
        what = f"how much of each, or one number for all of them (default: {LORA_MULTIPLIER:g})"
        table.add("model files", f"lora_multiplier{suffix}", what, type=number, nargs="+", metavar="N")
    about = dict(settings_of(Model))
    table.add_setting("model files", "lora_mode", about["lora_mode"], str)
    table.add_setting("model files", "lora_partial", about["lora_partial"], bool)


def _add_general(table: Table, full_parser: Callable[[], Parser]) -> None:
    group = table.group("this program")
    group.add_argument("-q", "--quiet", action="store_const", const=True, help="show errors, warnings and files only")
    group.add_argument("--version", action="version", version=f"%(prog)s {__version__}", help="show the version")
    group.add_argument("-h", "--help", action="help", help="show what most people need")
    group.add_argument("--help_all", action=_HelpAll, build=full_parser, help="show every flag")


def _shown(preset: Preset, name: str) -> str:
    values = preset_values(preset)
    value = values[name] if name in values else _DEFAULTS[name]
    if isinstance(value, Path) and value.is_relative_to(Path.cwd()):
        value = value.relative_to(Path.cwd())
    return (f"{value:g}" if isinstance(value, float) else str(value)).replace("%", "%%")


_DEFAULTS = {
    f.name: f.default for record in (Compute, Cards, Output) for f in fields(record) if f.default is not MISSING
}


def path(text: str) -> Path:
    """A path, for argparse; `~` is the home folder of the user, `~name` that of another."""
    try:
        return path_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole_number_or_auto(text: str) -> int | str:
    """A whole number or the word auto, for argparse."""
    if text == AUTO:
        return text
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor auto") from error


TYPES: dict[Any, Callable[[str], object]] = {int: whole_number, float: number, Path: path, Path | None: path}
METAVARS: dict[Any, str] = {int: "N", float: "N", Path: "PATH", Path | None: "FILE"}
