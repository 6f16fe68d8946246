"""The extension's command line: the base's, with a storyboard in front. Reads arguments and prints."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from holocine_ext.asked import asked, asked_by_line, items, storyboards, variant_asked
from holocine_ext.defaults import with_defaults
from holocine_ext.download import CHOICES, published_files
from holocine_ext.forecast import told_words
from holocine_ext.long import ahead_of, make_long, one_pass
from holocine_ext.plan import looked_over, plan_video
from holocine_ext.presets import DEFAULT_MODEL, DEFAULT_VARIANT, MODELS, VARIANTS
from holocine_ext.rate import RATE_FLAGS, rate_given
from holocine_ext.report import render
from holocine_ext.request import SceneRequest, stem_of
from holocine_ext.run import job_of
from holocine_ext.shots.layout import SHOT_MASK_TYPES
from holocine_ext.takes.listing import takes_in
from holocine_ext.variants import rank_for, variant_fact
from holocine_ext.windows import LongFilm, in_windows
from wan2.cli.arguments import Parser, Table, add_common_arguments, number, path, whole_number
from wan2.cli.asked import given_values
from wan2.cli.console import Console
from wan2.cli.download import download
from wan2.cli.inspect import show_files
from wan2.cli.lists import Item, plan_each
from wan2.cli.main import (
    cache_folder,
    check_cache,
    check_cards,
    check_paths,
    check_several,
    make_several,
    parsed,
    prepare,
    processes,
    run_command,
)
from wan2.cli.make import make_one
from wan2.cli.models_dir import with_models
from wan2.cli.seeds import asked_by_seeds, make_seeds
from wan2.errors import InputError, RunError
from wan2.plan.files import Files
from wan2.plan.outputs import Inputs
from wan2.plan.rates import MACHINE, Rate, keep
from wan2.request.fields import settings_of
from wan2.request.presets import CHECKPOINTS
from wan2.request.sampling import Sampling
from wan2.run.job import Job
from wan2.shown import one_line

PROGRAM = "holocine_generate_video"
CLEAN = "nothing in this scene looks like a mistake"
SCENE = (
    "the scene (exactly one of --storyboard, --global_caption with --shot_captions, --prompt, --from_file, "
    "--latent_path, or --take, beside which the first three change its scene)"
)
# The flags that name a file which a command reads.
READ = ("storyboard", "from_file", "take", "video_path")
SHARING = (
    "how cards share a video: cfg, a pass each; shots, whole shots each (sparse); ulysses, heads each; cfg+shots, "
    "cfg+ulysses; auto"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    return run_command(PROGRAM, _run, argv)


def _run(words: Sequence[str], console: Console) -> None:
    given = given_values(parsed(build_parser(), words, console))
    console.quiet = bool(given["quiet"])
    check_paths(given)
    if given["inspect"]:
        show_files(given, console, more=variant_fact)
        return
    if given["download"]:
        download(given, published_files(given["download"]), CHECKPOINTS, console)
        return
    check_several(given)
    check_cards(given)
    if given["check_machine"]:
        check(given, console)
        return
    if given["list_takes"] is not None:
        list_takes(given, console)
        return
    given = with_defaults(given, console.chose)
    given = with_models(given, console, rank_for({"variant": given["variant"] or variant_asked(given)}))
    rate = rate_given(given)
    listed = given["from_file"] is not None and given["latent_path"] is None
    several = items(given) if listed else asked_by_seeds(given, stem_of(given["storyboard"]))
    inputs = inputs_given(given, several)
    plan = asked_by_line if listed else _by_values
    if given["dry_run"] or given["lint"]:
        files, words_of = Files(), _linted if given["lint"] else partial(_forecast, inputs=inputs, rate=rate)
        _show(several, lambda item: words_of(plan(item), files), given, console)
    elif not several:
        request = asked(given)
        if windows := in_windows(request):
            long = LongFilm(request, windows, given["resume"])
            make_long(long, given, words, inputs, console, lambda one: _make(one, inputs, console))
        else:
            _make(request, inputs, console)
    else:
        files = Files()

        def planned(item: Item) -> Job:
            return _planned(one_pass(plan(item)), files, inputs, console)

        make = partial(make_several, several, planned, given, words, console, main)
        if listed:
            make()
        else:
            make_seeds(several, make, given, console)


def _make(request: SceneRequest, inputs: Inputs, console: Console) -> None:
    job = _planned(request, Files(), inputs, console)
    prepare(job.plan.request)
    make_one(job, console, cache_folder(), processes())


def _by_values(item: Item) -> SceneRequest:
    return asked(item.values)


def inputs_given(given: Mapping[str, Any], several: Sequence[Item]) -> Inputs:
    """The files that the command itself reads: the storyboard, or the list and all of its storyboards."""
    inputs = {name: [given[name]] for name in READ if given[name] is not None}
    named = storyboards(several)
    return inputs | ({"storyboard": named} if named else {})


def _planned(request: SceneRequest, files: Files, inputs: Inputs, console: Console) -> Job:
    check_cache(request.base.compute)
    plan = plan_video(request, files, inputs)
    if not plan.finished:
        console.planned(plan.base)
        if request.making and (told := told_words(request.making)):
            console.chose(f"settings: {told}")
        for warning in request.warnings:
            console.note(warning)
    return job_of(plan)


def _show(several: Sequence[Item], shown: Callable[[Item], str], given: Mapping[str, Any], console: Console) -> None:
    """Print what is to be said of the video, or of every one of several."""
    if not several:
        console.show(shown(Item("", "", "", 0, given)))
        return
    planned, broken = plan_each(several, shown, console)
    console.show("\n\n".join(text for _, text in planned))
    for _, said in broken:
        console.note(said)
    if broken:
        raise InputError(f"{len(broken)} of {len(several)} {'lines' if given['from_file'] else 'seeds'} cannot be made")


def _forecast(request: SceneRequest, files: Files, inputs: Inputs, rate: Rate | None) -> str:
    return render(ahead_of(request, files, inputs, rate))


def _linted(request: SceneRequest, files: Files) -> str:
    return "\n".join(map(one_line, looked_over(request, files))) or CLEAN


def check(given: Mapping[str, Any], console: Console) -> None:
    """Look at the machine, show what was found, and keep its rate for `dry_run`.

    Raises:
        InputError: something else was asked for, too; or the device is not there.
        RunError: something is wrong with the machine; the table says what.
    """
    for name, value in given.items():
        if value is not None and name not in ("check_machine", "device", "quiet"):
            raise InputError(f"looks at the machine and takes only `device`, not `{name}`", field="check_machine")
    from holocine_ext.check.check import check_machine

    console.stage("Loading PyTorch")
    checked = check_machine(given["device"] or "auto", console.stage)
    path = cache_folder() / MACHINE
    keep(path, checked.as_json())
    console.show(checked.table())
    console.done([path])
    if not checked.right:
        raise RunError("`check_machine`: something is wrong here; the table says what")


def list_takes(given: Mapping[str, Any], console: Console) -> None:
    """Show the earlier runs in a folder. Raises `InputError` when there are none, or something else was asked for."""
    for name, value in given.items():
        if value is not None and name not in ("list_takes", "quiet"):
            raise InputError(f"lists earlier runs and goes with nothing else, not `{name}`", field="list_takes")
    console.show(takes_in(given["list_takes"]))


def build_parser(full: bool = False) -> Parser:
    """The extension's arguments: its own, then the base's."""
    parser = Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make one video of several shots, cut where you ask, in a single pass of HoloCine.\n\nexample:\n"
        f"  {PROGRAM} --storyboard scene.toml --variant sparse --save_path scene.mp4",
    )
    table = Table(parser, [family[DEFAULT_VARIANT] for family in MODELS.values()], full, {"parallel": SHARING})
    _add_scene(table)
    _add_takes(table)
    _add_model(table)
    add_common_arguments(table, SCENE, partial(build_parser, full=True), CHOICES)
    _add_looking(table)
    return parser


def _add_scene(table: Table) -> None:
    table.add(
        SCENE,
        "storyboard",
        "a scene as .toml, .json or .yaml, or what other programs write",
        common=True,
        type=path,
        metavar="FILE",
    )
    table.add(SCENE, "global_caption", "what all shots share: place, people, style", common=True, metavar="TEXT")
    captions: dict[str, Any] = {"nargs": "+", "action": "extend", "metavar": "TEXT", "common": True}
    table.add(SCENE, "shot_captions", "what each shot shows, in order; repeatable", **captions)
    what = "first frame of every shot after the first, snapped to the nearest 4t+1 (default: even shots)"
    table.add(SCENE, "shot_cut_frames", what, common=True, nargs="+", type=whole_number, metavar="N")
    what = "a raw prompt with its own tags, or a plain one for one shot"
    table.add(SCENE, "prompt", what, common=True, metavar="TEXT")
    what = "one storyboard a line, in the folder of the file, each with settings if wanted: scene.toml --d 42 --s 30"
    table.add(SCENE, "from_file", what, common=True, type=path, metavar="FILE")


def _add_takes(table: Table) -> None:
    what = "begin from an earlier run, by its video, record or latents; what is given beside it wins"
    table.add(SCENE, "take", what, common=True, type=path, metavar="FILE")
    what = "make these shots of the take anew and hold the others; the seed is drawn unless --seed is given"
    table.add(SCENE, "reshoot", what, common=True, nargs="+", type=whole_number, metavar="N")
    what = "how much of these shots is made anew, up to 1; below it they keep their framing (default: 1)"
    table.add(SCENE, "strength", what, type=number, metavar="S")
    table.add_setting("sampling", "hold_noise", dict(settings_of(Sampling))["hold_noise"], float)


def _add_model(table: Table) -> None:
    what = (
        f"which model's files and settings are the defaults (default: {DEFAULT_MODEL}; nano is the built-in miniature)"
    )
    table.add("model", "model", what, common=True, choices=tuple(MODELS))
    what = f"attention between shots: full, or sparse, which is faster (default: {DEFAULT_VARIANT})"
    table.add("model", "variant", what, common=True, choices=VARIANTS)
    what = "what the 17th input channel says, for checkpoints that have one (default: none)"
    table.add("model", "shot_mask_type", what, choices=SHOT_MASK_TYPES)


def _add_looking(table: Table) -> None:
    flag: dict[str, Any] = {"action": "store_const", "const": True}
    table.add("looking", "dry_run", "print the plan and its cost, make nothing", common=True, **flag)
    what = "say what in the scene is likely to disappoint, make nothing; --dry_run says it, too"
    table.add("looking", "lint", what, common=True, **flag)
    what = "show the earlier runs in a folder as a table: scene, shots, seed, time, what was held"
    table.add("looking", "list_takes", what, common=True, type=path, metavar="FOLDER")
    what = "look at this machine: is everything right, how fast is it; --dry_run shows times from then on"
    table.add("looking", "check_machine", what, common=True, **flag)
    for name, (what, how) in RATE_FLAGS.items():
        table.add("looking", name, what, common=name == "card", **how)
    table.add("looking", "export_shots", "also write every shot as its own video", common=True, **flag)
    what = "also write the film as a timeline for editing programs, as .otio and .edl"
    table.add("looking", "export_timeline", what, **flag)
    what = "a picture with a row for every shot, next to the video (default: written)"
    table.add("looking", "contact_sheet", what, **flag)
    no_sheet: dict[str, Any] = {"dest": "contact_sheet", "action": "store_const", "const": False}
    table.add("looking", "no_contact_sheet", "no such picture", **no_sheet)
