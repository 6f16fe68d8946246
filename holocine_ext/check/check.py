"""Everything that is looked at on a machine, in order, with a line of progress for each part."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import torch

from holocine_ext.check.findings import Checked, Finding
from holocine_ext.check.runs import Runs, fp8
from holocine_ext.check.speed import TRUE_WIDTH, block, copies, kernels, products
from wan2.request.compute import Compute
from wan2.run.machine import Machine, resolve_machine

GB = 1e9


def check_machine(device: str, begins: Callable[[str], None]) -> Checked:
    """Look at the machine at hand: a minute or two.

    Args:
        device: auto, cpu, mps, cuda or cuda:1.
        begins: gets the name of each part before it runs.

    Raises:
        InputError: the device is not there.
    """
    began = time.perf_counter()
    machine = resolve_machine(Compute(device=device))
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, part in _parts(machine, Path(folder)):
            begins(name)
            findings += part
            machine.release()
    rates = [finding.value for finding in findings if finding.group == TRUE_WIDTH and finding.value]
    return Checked(_described(machine), findings, min(rates), time.perf_counter() - began)


def _parts(machine: Machine, folder: Path) -> Iterator[tuple[str, Iterator[Finding]]]:
    yield "products", products(machine)
    yield "attention kernels", kernels(machine)
    yield TRUE_WIDTH, block(machine)
    yield "copies", copies(machine, folder)
    yield "fp8", fp8(machine)
    yield "runs of the miniature", Runs(machine, folder).findings()


def _described(machine: Machine) -> dict[str, str]:
    cuda = machine.device.type == "cuda"
    device = machine.name
    if cuda:
        found = torch.cuda.get_device_properties(machine.device)
        device = f"{found.name}, {found.total_memory / GB:.1f} GB, compute capability {found.major}.{found.minor}"
    versions = f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return {
        "device": f"{machine.device}: {device}",
        "dtype": f"{str(machine.dtype).removeprefix('torch.')} by auto",
        "threads": f"{torch.get_num_threads()} of {psutil.cpu_count()} processors",
        "memory": f"{psutil.virtual_memory().total / GB:.1f} GB of the host",
        "PyTorch": versions if cuda else torch.__version__,
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
