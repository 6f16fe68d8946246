"""What a launcher of several processes tells each of them. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from wan2.errors import InputError

VARIABLES = {"rank": "RANK", "size": "WORLD_SIZE", "local": "LOCAL_RANK"}
"""What `accelerate launch` and `torchrun` tell a process in its environment."""


def numbers_of(environment: Mapping[str, str]) -> dict[str, int]:
    """The numbers that a launcher gave this process; a process alone has none.

    Raises:
        InputError: something else stands there.
    """
    found = {name: environment[variable] for name, variable in VARIABLES.items() if variable in environment}
    if "rank" not in found or "size" not in found:
        return {"rank": 0, "size": 1, "local": 0}
    if odd := next((value for value in found.values() if not value.isdecimal()), None):
        raise InputError(f"the launcher's variables say {odd[:40]!r} where a number should be")
    return {"local": 0, **{name: int(value) for name, value in found.items()}}
