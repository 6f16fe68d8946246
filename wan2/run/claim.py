"""The names of a run, held by one process from before it loads anything to its end, and the one way to write them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path

from wan2.errors import RunError
from wan2.files import Busy, held, placed, placed_folder
from wan2.plan.ours import is_our_frame
from wan2.plan.outputs import OutputPaths, Target, named_outputs, names_in_folder, targets
from wan2.plan.plan import Plan
from wan2.plan.taken import check_names, check_outputs
from wan2.request.request import Request


@dataclass
class Claim:
    """The names of a run that belong to this process, and the one way to write them."""

    paths: OutputPaths
    work: Path
    targets: tuple[Target, ...]
    replaceable: set[Path]
    """What stands there and may be replaced: it stood there before the run began, or this run wrote it."""

    def whole(self, path: Path) -> AbstractContextManager[Path]:
        """`files.whole_file` for a path of the run.

        Raises:
            OSError: something has appeared there since the run began, or the file cannot be written.
        """
        return self._placed(path, placed(self.work, path))

    def whole_folder(self, path: Path) -> AbstractContextManager[Path]:
        """`whole` for the folder of frames, of which only frames of this program are ever removed."""
        return self._placed(path, placed_folder(self.work, path, is_our_frame))

    @contextmanager
    def _placed(self, path: Path, inner: AbstractContextManager[Path]) -> Iterator[Path]:
        if path not in {target.path for target in self.targets}:
            raise ValueError(f"{path} is none of the files of this run")
        self.work.mkdir(exist_ok=True)  # an output folder that went away took it along
        with inner as part:
            yield part
            if os.path.lexists(path) and path not in self.replaceable:
                raise OSError(errno.EEXIST, "has appeared since the run began, and is not replaced", str(path))
            # Before the file has its name: a signal may end the block right after, and the file is then written anew.
            self.replaceable.add(path)


@contextmanager
def claimed(plan: Plan) -> Iterator[Claim]:
    """The names of a run for this process alone, until the block ends: those asked for, or time and seed in a folder.

    Raises:
        RunError: another process holds the name.
        InputError: as `check_outputs`, of which this is the last word: now nobody else makes these files.
    """
    request, also = plan.request, plan.extension.also
    check_names(request, also)
    with ExitStack() as stack:
        paths, work = _hold(request, stack)
        check_outputs(request, plan.inputs, also, replace=request.output.overwrite)
        found = targets(request, paths, also)
        yield Claim(paths, work, found, {target.path for target in found if os.path.lexists(target.path)})


def _hold(request: Request, stack: ExitStack) -> tuple[OutputPaths, Path]:
    """Names that nobody else holds and their work folder, until the stack closes."""
    named = named_outputs(request.output.save_path)
    for paths in [named] if named else _names(request):
        try:
            work = stack.enter_context(held(paths.beside("")))
        except Busy as busy:
            if named:
                rule = "another process is making it now; nothing was touched"
                raise RunError(f"`save_path` {request.output.save_path}: {rule}") from busy
            continue
        if named or not any(paths.folder.glob(f"{paths.name}[._]*")):
            return paths, work
        stack.close()
    raise AssertionError("names never end")


def _names(request: Request) -> Iterator[OutputPaths]:
    """Time and seed, then the same with numbers."""
    paths = names_in_folder(request, datetime.now())
    yield paths
    yield from (replace(paths, name=f"{paths.name}-{number}") for number in count(2))
