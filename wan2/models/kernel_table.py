"""The attention kernels and what each needs. Loads none of them, nor PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from wan2.errors import InputError

AUTO = "auto"


@dataclass(frozen=True)
class Needs:
    """What a kernel needs in addition to PyTorch.

    devices: kinds of device it runs on; empty is any. module, install: the package, and the line that installs it.
    """

    devices: tuple[str, ...] = ()
    module: str | None = None
    install: str = ""


KERNELS = {
    "sdpa": Needs(),
    "cudnn": Needs(devices=("cuda",)),
    "flash2": Needs(("cuda",), "flash_attn", "pip install flash-attn --no-build-isolation"),
    "flash3": Needs(("cuda",), "flash_attn_interface", "pip install flash-attn-3 --no-build-isolation"),
    "sage": Needs(("cuda",), "sageattention", "pip install sageattention"),
    "flex": Needs(devices=("cpu", "cuda")),
}
# What `auto` chooses from. Sage is not exact, and flex is compiled in every process: both must be asked for.
CANDIDATES = ("sdpa", "cudnn", "flash2", "flash3")


def check_kernel(mode: str, device: str) -> None:
    """Refuse a kernel that this device or this installation does not have.

    Args:
        mode: a name in `KERNELS`, or auto.
        device: its kind, cpu, cuda or mps; or auto, while that is not known.

    Raises:
        InputError: with the device it needs, or the line that installs it.
    """
    if mode == AUTO:
        return
    if mode not in KERNELS:
        raise InputError(f"must be one of {', '.join((AUTO, *KERNELS))}", field="attn_mode", value=mode)
    needs = KERNELS[mode]
    if needs.devices and device not in (AUTO, *needs.devices):
        raise InputError(f"needs `device` {' or '.join(needs.devices)}, not {device}", field="attn_mode", value=mode)
    if needs.module and find_spec(needs.module) is None:
        rule = f"{needs.module} is not installed; install it with: {needs.install}"
        raise InputError(rule, field="attn_mode", value=mode)
