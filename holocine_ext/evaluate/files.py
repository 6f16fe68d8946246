"""The two files of a report: which files they may replace, and how they are written. Does not know their content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wan2.errors import InputError, RunError
from wan2.files import Busy, held, placed

MARK = "holocine_evaluate"
"""Names in both files the program that made them."""
PAGE, DATA = "report.html", "report.json"
JSON_START = f'{{\n "program": "{MARK}"'
GENERATOR = f'<meta name="generator" content="{MARK}">'
HEAD = 1024
"""Bytes at the start of a file in which the mark is looked for."""


def is_our_data(path: Path) -> bool:
    """Whether a file is the JSON of a report. False for whatever cannot be read."""
    return _head(path).startswith(JSON_START)


def is_our_page(path: Path) -> bool:
    """Whether a file is the page of a report. False for whatever cannot be read."""
    head = _head(path)
    return head.startswith("<!doctype html>") and GENERATOR in head


OURS: Mapping[str, Callable[[Path], bool]] = {PAGE: is_our_page, DATA: is_our_data}


def check_report(folder: Path, replace: bool) -> None:
    """Refuse a folder in which no report can be written, or which holds a file that may not be replaced.

    Inputs of the evaluation never carry the mark of a report, so no input is ever replaced.

    Args:
        folder: where the report will be written; it need not exist.
        replace: whether an earlier report may be replaced.

    Raises:
        InputError: with the file or folder that is in the way.
    """
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not above.is_dir():
        raise InputError(f"`save_path` {folder}: {above} is a file; the report takes a folder")
    if not os.access(above, os.W_OK):
        raise InputError(f"`save_path` {folder}: {above} is a folder that cannot be written to")
    for name, ours in OURS.items():
        path = folder / name
        if not os.path.lexists(path):
            continue
        if path.is_symlink() or not ours(path):
            kind = "a link" if path.is_symlink() else "something that this program did not make"
            raise InputError(f"`save_path` {folder}: {kind} stands at {path}; remove it, or give another folder")
        if not replace:
            raise InputError(
                f"`save_path` {folder}: {path} is there from an earlier evaluation; keep it by another `save_path`, "
                "or replace it by `overwrite`"
            )


@contextmanager
def held_report(folder: Path, replace: bool) -> Iterator[Callable[[Mapping[str, str]], list[Path]]]:
    """A block in which no other process writes a report to the folder.

    Yields a function that takes texts by file name, writes each file whole or not at all, and returns the paths. A
    folder that did not exist is removed again if nothing was written.

    Raises:
        InputError: as `check_report`.
        RunError: another process writes a report there.
    """
    check_report(folder, replace)
    with ExitStack() as stack:
        try:
            work = stack.enter_context(held(folder / PAGE))
        except Busy as error:
            raise RunError(f"`save_path` {folder}: another process is writing a report there now") from error
        check_report(folder, replace)

        def write(texts: Mapping[str, str]) -> list[Path]:
            for name, text in texts.items():
                with placed(work, folder / name) as part:
                    part.write_text(text, encoding="utf-8")
            return [folder / name for name in texts]

        yield write


def _head(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(HEAD).decode("utf-8", "replace")
    except OSError:
        return ""
