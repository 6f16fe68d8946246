"""The ways a run ends badly, and how one failure is kept from ending others. Knows nothing of what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self


class InputError(ValueError):
    """A value that cannot be used, found before anything ran. The command line exits 2.

    Args:
        rule: what is wrong, in one line. Names of settings in it stand in backticks.
        field: the setting, by its name in the request; empty where no single one is to blame.
        value: its value, as it is shown.

    `str(error)` is one line: field, value, rule. The command line spells fields as its flags.
    """

    def __init__(self, rule: str, *, field: str = "", value: object = "") -> None:
        self.rule, self.field, self.value = rule, field, value
        super().__init__(self._line(field))

    @property
    def quoted(self) -> str:
        """The line with the field in backticks, to stand in the rule of another error."""
        return self._line(f"`{self.field}`" if self.field else "")

    def _line(self, field: str) -> str:
        shown = f"{field} {self.value}".rstrip()
        return f"{shown}: {self.rule}" if shown else self.rule


def refusal(place: str, value: object, rule: str) -> InputError:
    """The error about a value at a place: a setting, in backticks, becomes its field; any other begins the rule."""
    if place.startswith("`") and place.endswith("`"):
        return InputError(rule, field=place.strip("`"), value=value)
    return InputError(f"{place} {value}: {rule}")


class RunError(RuntimeError):
    """A failure while running. `str(error)` is one line. The command line exits 1."""


# What the CPU's allocator says, and oneDNN, whose layers want memory of their own: neither has an error of its own.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "Cannot allocate memory",
    "could not create a primitive",
)
# The same of a GPU: its driver, and the libraries that take memory of their own from it.
OUT_OF_DEVICE_MEMORY = (
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the device or of the host."""
    if isinstance(error, MemoryError) or is_out_of_device_memory(error):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def is_out_of_device_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU ran out. PyTorch's own class is known by its name."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_DEVICE_MEMORY)


RUST_PANIC = "PanicException"
"""What libraries in Rust raise; it is no `Exception`, and its class cannot be imported."""


class Answered(SystemExit):
    """The command line asked for words only, as `--help` does, and has them."""


class Ended:
    """A block whose failure goes no further: `tell` says what it was and gives the exit code, else `code` is 0.

    Interrupts are no failures, and pass.
    """

    def __init__(self, tell: Callable[[BaseException], int]) -> None:
        self.tell = tell
        self.code = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not is_failure(error):
            return False
        # Told here and not kept: an error holds every tensor of the run that it ended.
        self.code = self.tell(error)
        return True


def is_failure(error: BaseException) -> bool:
    """Whether an error ends one run and no other: any exception, a library's panic, or its wish to exit."""
    leaves = isinstance(error, SystemExit) and not isinstance(error, Answered)
    return leaves or isinstance(error, Exception) or type(error).__name__ == RUST_PANIC
