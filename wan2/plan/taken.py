"""Whether a run may write what it would: held against what it reads, and against what stands there. Writes nothing."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from wan2.errors import InputError
from wan2.files import LOCK, is_work_folder, work_folder
from wan2.plan.ours import is_record_of
from wan2.plan.outputs import Also, Inputs, OutputPaths, Target, named_outputs, names_in_folder, nothing_else, targets
from wan2.plan.saved import STATE_ENDING
from wan2.request.request import Request

# A name with this end would have latents where the state of another name lies.
RESERVED = Path(STATE_ENDING).stem
# What file systems take where they do not say: bytes of a name, and of a whole path with its closing zero.
NAME_BYTES, PATH_BYTES = 255, 4096


class TakenError(InputError):
    """Something stands where a run would write."""


def check_names(request: Request, also: Also = nothing_else) -> None:
    """Refuse names that cannot be written, or should not be.

    Raises:
        InputError: the name and the rule.
    """
    _check_characters(request.output.save_path)
    _check_folder(request.output.save_path)
    named = named_outputs(request.output.save_path)
    paths = named or names_in_folder(request, datetime.now())
    _check_length(request.output.save_path, paths, targets(request, paths, also))
    if named and named.name.endswith(RESERVED):
        raise InputError(
            f"a name that ends in {RESERVED} is that of a state; give another",
            field="save_path",
            value=request.output.save_path,
        )


def check_outputs(request: Request, inputs: Inputs, also: Also = nothing_else, *, replace: bool) -> None:
    """Refuse names that a run reads from, or that are taken.

    Args:
        request: the run.
        inputs: what it reads.
        also: what an extension writes besides.
        replace: whether what an earlier run of this program finished may be replaced.

    Raises:
        InputError: the first path that will not do.
    """
    if (paths := named_outputs(request.output.save_path)) is None:
        return
    found = targets(request, paths, also)
    _check_inputs(request, found, inputs)
    _check_free(request, paths, found, replace)


def _check_characters(path: Path) -> None:
    """Names that other programs can be given: text, and nothing in it that a terminal obeys."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise InputError("its whole path is not UTF-8 text", field="save_path", value=path) from error
    if any(unicodedata.category(char) == "Cc" for char in str(path)):
        raise InputError("holds a control character", field="save_path", value=path)


def _check_folder(path: Path) -> None:
    """Every folder above the output that exists is a folder, and the nearest takes new files."""
    folders = (path, *path.parents) if named_outputs(path) is None else path.parents
    if nowhere := next((folder for folder in folders if folder.is_symlink() and not folder.exists()), None):
        raise InputError(f"{nowhere} is a link that leads nowhere", field="save_path", value=path)
    above = next((folder for folder in (path, *path.parents) if folder.exists()), Path())
    if not above.is_dir() and (above != path or not path.suffix):
        raise InputError(f"{above} is a file, not a folder", field="save_path", value=path)
    if above.is_dir() and not os.access(above, os.W_OK):
        raise InputError(f"{above} is a folder that cannot be written to", field="save_path", value=path)


def _check_length(asked: Path, paths: OutputPaths, found: Sequence[Target]) -> None:
    """The longest name and the longest path that the run will write, temporary ones included, in bytes."""
    names = [target.path.name for target in found]
    work = work_folder(paths.beside(""))
    longest = max([work.name, *names], key=_bytes)
    most_name, most_path = _limits(paths.folder)
    whole = work / max([LOCK, *names], key=_bytes)
    over = max(_bytes(longest) - most_name, _bytes(str(whole)) + 1 - most_path)
    if over > 0:
        rule = (
            f"is too long by {over} bytes for the files of a run, the longest of which is "
            f"...{longest[-len(STATE_ENDING) - 2 :]}"
        )
        raise InputError(rule, field="save_path", value=asked)


def _bytes(name: str) -> int:
    return len(os.fsencode(name))


def _limits(folder: Path) -> tuple[int, int]:
    """The bytes that a name and a path may take in a folder that may not be there yet."""
    there = next(above for above in (folder.absolute(), *folder.absolute().parents) if above.is_dir())
    if not hasattr(os, "pathconf"):
        return NAME_BYTES, PATH_BYTES
    return os.pathconf(there, "PC_NAME_MAX"), os.pathconf(there, "PC_PATH_MAX")


def _check_inputs(request: Request, found: Sequence[Target], inputs: Inputs) -> None:
    """No file of the run may be one that it reads, by whatever path, link or second name."""
    known: dict[object, str] = {}
    taken = any(os.path.lexists(target.path) for target in found)
    for name, files in inputs.items():
        for file in files:
            if taken or not os.path.lexists(file):  # else the file is there, and no target is
                known |= dict.fromkeys(_identities(file), f"`{name}` {file}")
    for target in found:
        if read := next((known[one] for one in _identities(target.path) if one in known), None):
            raise TakenError(
                f"its {target.what} would be {target.path}, which is {read}",
                field="save_path",
                value=request.output.save_path,
            )


def _identities(path: Path) -> list[object]:
    """What two paths of one file have in common."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return [os.path.realpath(path)]
    return [os.path.realpath(path), (stat.st_dev, stat.st_ino)]


def _check_free(request: Request, paths: OutputPaths, found: Sequence[Target], replace: bool) -> None:
    """Nothing stands in the place of a file of the run but what this program made, and that only where it may go."""
    asked, work = request.output.save_path, work_folder(paths.beside(""))
    if os.path.lexists(work) and not is_work_folder(work):
        raise InputError(
            f"{work} is in the way, and is not this program's; remove or rename it", field="save_path", value=asked
        )
    goes_on = request.resume is not None and same_file(request.resume, paths.state)
    for what, path, ours in found:
        if not os.path.lexists(path) or (what == "state" and goes_on):
            continue
        if path.is_symlink() or not ours(path):
            kind = "a link" if path.is_symlink() else "something that this program did not make"
            raise TakenError(
                f"its {what} would be {path}, where {kind} stands; remove or rename it", field="save_path", value=asked
            )
        if what == "state":
            rule = f"an unfinished run of this name is saved as {path}; go on with it by `resume`, or remove it"
            raise TakenError(rule, field="save_path", value=asked)
        if not (replace or goes_on or what == "preview" or _carries_on(request, what, path)):
            rule = f"{path} is there from an earlier run; go on with that by `resume`, replace it by `overwrite`"
            raise TakenError(f"{rule}, or give another `save_path`", field="save_path", value=asked)


def _carries_on(request: Request, what: str, path: Path) -> bool:
    """Whether a record is that of the latents that are decoded: the new one holds all of it."""
    return what == "record" and request.latent_path is not None and is_record_of(path, request.latent_path)


def same_file(path: Path, other: Path) -> bool:
    """Whether two paths name one file."""
    return path.resolve() == other.resolve()
