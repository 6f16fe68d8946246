"""The command that writes a storyboard from a few words: reads arguments, writes one file. Makes no video."""

from __future__ import annotations

import os
from argparse import SUPPRESS
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holocine_ext.story.as_text import as_text
from holocine_ext.story.fields import read_document
from holocine_ext.write.endpoint import FIELD, Endpoint
from holocine_ext.write.writer import Brief, empty_board, written
from wan2.cli.arguments import Parser, number, path, whole_number
from wan2.cli.console import Console
from wan2.cli.main import check_paths, parsed, run_command
from wan2.errors import InputError
from wan2.files import whole_file

PROGRAM = "holocine_write_storyboard"
KEY = "OPENAI_API_KEY"
"""The variable that holds the key for the endpoint."""
USUAL_SHOTS = 5
USUAL_PATH = Path("storyboard.toml")
TO_WRITE = "Captions are missing: say what all shots share, and of each the framing, who, what happens, the camera."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    return run_command(PROGRAM, _run, argv)


def build_parser() -> Parser:
    """The arguments of the writer's command."""
    what = "Write a storyboard from a few words, by a language model; without one, a skeleton to fill in."
    parser = Parser(prog=PROGRAM, allow_abbrev=False, description=what)
    parser.add_argument("brief", nargs="?", default="", metavar="BRIEF", help="what the scene is about, in a few words")
    parser.add_argument("--shots", type=whole_number, metavar="N", help=f"how many shots (default: {USUAL_SHOTS})")
    what = "how long the whole scene is, or each shot; kept as given (default: left open)"
    parser.add_argument("--seconds", type=number, nargs="+", metavar="S", help=what)
    what = f"OpenAI-compatible endpoint, such as http://localhost:8080/v1; its key is in the variable {KEY}"
    parser.add_argument("--endpoint", metavar="URL", help=what)
    parser.add_argument("--llm", metavar="NAME", help="the language model there")
    what = "a storyboard of which only what is missing is written: empty captions"
    parser.add_argument("--fill", type=path, metavar="FILE", help=what)
    what = f"the file to write, .toml, .json or .yaml; never one that is there (default: {USUAL_PATH})"
    parser.add_argument("--save_path", type=path, default=USUAL_PATH, metavar="FILE", help=what)
    parser.add_argument("--quiet", action="store_true", help=SUPPRESS)
    return parser


def _run(words: Sequence[str], console: Console) -> None:
    given = vars(parsed(build_parser(), words, console))
    check_paths(given)
    save_path = _free(given["save_path"])
    endpoint = _endpoint(given["endpoint"], given["llm"])
    brief = Brief(given["brief"], _board(given))
    if endpoint is None:
        board = {**brief.board, "global_caption": brief.shared or brief.text.strip()}
        text = as_text(board, save_path, TO_WRITE)
    else:
        text = as_text(written(endpoint, brief, console.note), save_path)
    with whole_file(save_path) as part:
        part.write_text(text, encoding="utf-8")
        _free(save_path)  # a language model takes its time
    console.done([save_path])


def _free(save_path: Path) -> Path:
    """The file to write. Raises `InputError` where something is there, or no storyboard would end so."""
    as_text({}, save_path)
    if os.path.lexists(save_path):
        raise InputError("is there already; give another name", field="save_path", value=save_path)
    if not save_path.parent.is_dir():
        raise InputError("its folder is not there", field="save_path", value=save_path)
    return save_path


def _endpoint(address: str | None, model: str | None) -> Endpoint | None:
    if address is None and model is None:
        return None
    if address is None or model is None:
        raise InputError("`endpoint` and `llm` go together; give both", field="llm" if address else FIELD)
    return Endpoint(address, model, os.environ.get(KEY, ""))


def _board(given: Mapping[str, Any]) -> dict[str, Any]:
    """The storyboard before anything is written."""
    if given["fill"] is None:
        if not given["brief"].strip():
            raise InputError("nothing to write about: give a few words, or `fill`")
        return empty_board(USUAL_SHOTS if given["shots"] is None else given["shots"], given["seconds"] or ())
    for name in ("shots", "seconds"):
        if given[name] is not None:
            raise InputError("the storyboard has its shots and their times", field=name)
    board = read_document(given["fill"], "`fill`")
    shots = board.get("shots")
    if not isinstance(shots, list) or not shots or not all(isinstance(shot, dict) for shot in shots):
        raise InputError("has no list of shots to fill", field="fill", value=given["fill"])
    brief = Brief(given["brief"], board)
    if brief.shared and not brief.missing:
        raise InputError("has every caption already", field="fill", value=given["fill"])
    return board
