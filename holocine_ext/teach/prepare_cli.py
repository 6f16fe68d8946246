"""The command that makes clips with storyboards of films: reads arguments, prints what was done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from holocine_ext.evaluate.detect import DETECTORS, check_detector, open_detector, resolve_device
from holocine_ext.presets import DEFAULT_MODEL, DEFAULT_VARIANT, MODELS
from holocine_ext.teach.cutting import Cutting
from holocine_ext.teach.flags import add_settings, record_of
from wan2.cli.arguments import Parser, number, path
from wan2.cli.console import Console
from wan2.cli.main import check_paths, parsed, run_command
from wan2.errors import InputError, RunError
from wan2.files import Busy, held, placed

PROGRAM = "holocine_prepare"
KEY = "OPENAI_API_KEY"
"""The variable that holds the key for the endpoint."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    return run_command(PROGRAM, _run, argv)


def build_parser() -> Parser:
    """The arguments."""
    parser = Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Make films into clips of several shots with storyboards, to teach a model with. A film with a "
        "storyboard beside it (film.mp4, film.toml) is taken as that says; others are cut where their cuts are found.",
    )
    parser.add_argument("films", nargs="+", type=path, metavar="FILM", help="films, or folders of them")
    what = "a new folder for the clips, their storyboards and the report"
    parser.add_argument("--save_path", type=path, metavar="FOLDER", required=True, help=what)
    what = f"whose size and frame rate the clips have, unless given (default: {DEFAULT_MODEL})"
    parser.add_argument("--model", choices=tuple(MODELS), default=DEFAULT_MODEL, help=what)
    add_settings(parser.add_argument_group("clips"), Cutting)
    group = parser.add_argument_group("what is left out, and captions")
    group.add_argument("--detector", choices=DETECTORS, default=DETECTORS[0], help="program that finds the cuts")
    group.add_argument("--no_subtitles", action="store_true", help="leave out shots with burnt-in subtitles")
    what = "folder of an image model of transformers with one output, the aesthetic score"
    group.add_argument("--aesthetic_model", type=path, metavar="FOLDER", help=what)
    group.add_argument("--aesthetic_least", type=number, metavar="N", help="score below which a shot is left out")
    what = f"OpenAI-compatible endpoint that writes captions, http://HOST/v1; its key is in the variable {KEY}"
    group.add_argument("--endpoint", metavar="URL", help=what)
    group.add_argument("--caption_model", metavar="NAME", help="the vision model's name at the endpoint")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 (default: auto)")
    return parser


def _run(words: Sequence[str], console: Console) -> None:
    given = vars(parsed(build_parser(), words, console))
    check_paths(given)
    cutting = cutting_of(given)
    _check_pairs(given)
    folder: Path = given["save_path"]
    check_folder(folder)
    check_detector(given["detector"])
    if given["no_subtitles"]:
        from holocine_ext.teach.screens import check_reader

        check_reader()
    from holocine_ext.teach.prepare import films_of

    films = films_of(given["films"])
    try:
        with held(folder / PROGRAM) as work:
            _prepare(films, cutting, given, work, console)
    except Busy as error:
        raise RunError(f"`save_path` {folder}: another process is preparing it now") from error


def cutting_of(given: dict[str, Any]) -> Cutting:
    """The cutting that was asked for, completed by the model's preset."""
    preset = MODELS[given["model"]][DEFAULT_VARIANT]
    names = {field.name for field in fields(Cutting)}
    made: Cutting = record_of(
        Cutting, given, **{n: getattr(preset, n) for n in ("height", "width", "fps") if n in names}
    )
    return made


def _check_pairs(given: dict[str, Any]) -> None:
    """Refuse flags that mean something together only."""
    for one, other in (("endpoint", "caption_model"), ("aesthetic_model", "aesthetic_least")):
        if (given[one] is None) != (given[other] is None):
            here, missing = (one, other) if given[other] is None else (other, one)
            raise InputError(f"needs `{missing}`, too", field=here, value=given[here])


def check_folder(folder: Path) -> None:
    """Refuse a folder that is not empty: nothing that was edited is ever replaced.

    Raises:
        InputError: with what is in the way.
    """
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not above.is_dir():
        raise InputError(f"{above} is a file; clips take a folder", field="save_path", value=folder)
    if not os.access(above, os.W_OK):
        raise InputError(f"{above} is a folder that cannot be written to", field="save_path", value=folder)
    if folder.is_dir() and any(not inside.name.startswith(".") for inside in folder.iterdir()):
        raise InputError("is not empty; give a new folder", field="save_path", value=folder)


def _prepare(films: Any, cutting: Cutting, given: dict[str, Any], work: Path, console: Console) -> None:  # noqa: ANN401
    from holocine_ext.teach import prepare
    from holocine_ext.teach.report import DATA, PAGE, as_json, as_page

    folder: Path = given["save_path"]
    console.stage("Opening the models")
    tools = _tools(given)
    console.stage("Finding shots", len(films))
    clips, left_out = prepare.find_clips(films, cutting, tools, console.advance)
    if not clips:
        console.close()
        why = f"; {len(left_out)} shots were left out, the first because: {left_out[0].why}" if left_out else ""
        raise InputError(f"no clip can be made of these films{why}")
    failed: list[str] = []
    if tools.captioner is not None:
        console.stage("Writing captions", sum(not clip.is_captioned for clip in clips))
        clips, failed = prepare.write_captions(clips, tools.captioner, console.advance)
    console.stage("Writing clips", len(clips))
    prepare.write_clips(clips, cutting, folder, console.advance)
    console.close()
    for line in failed:
        console.note(line)
    if missing := sum(not clip.is_captioned for clip in clips):
        console.note(f"{missing} of {len(clips)} clips have captions to write, in their storyboards")
    texts = {PAGE: as_page(clips, left_out, folder), DATA: as_json(clips, left_out, cutting)}
    for name, content in texts.items():
        with placed(work, folder / name) as part:
            part.write_text(content, encoding="utf-8")
    console.done([folder / name for name in texts])


def _tools(given: dict[str, Any]) -> Any:  # noqa: ANN401
    from holocine_ext.teach import screens
    from holocine_ext.teach.captions import Captioner
    from holocine_ext.teach.prepare import Tools

    captioner = None
    if given["endpoint"] is not None:
        captioner = Captioner(given["endpoint"], given["caption_model"], os.environ.get(KEY, ""))
    device = resolve_device(given["device"])
    looks = [screens.without_subtitles(screens.open_reader())] if given["no_subtitles"] else []
    if given["aesthetic_model"] is not None:
        score = screens.open_scorer(given["aesthetic_model"], device)
        looks.append(screens.at_least(score, given["aesthetic_least"]))
    return Tools(open_detector(given["detector"], device), tuple(looks), captioner)
